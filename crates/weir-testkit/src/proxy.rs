//! A network that loses, delays and doubles what a test chooses: a TCP proxy in front of brokers that reads enough of Kafka's protocol
//! to know one request from another.
//!
//! Clients that are given [`Proxy::bootstrap`] stay behind it, because the ports in the answers to Metadata and FindCoordinator are
//! changed to its own. It reads plain text only. A rule ([`Proxy::inject`]) strikes at requests of one kind; what was struck can be told
//! from [`Fault::struck`], so that a run in which nothing happened is no proof.

mod rewrite;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The longest frame that is passed on, in bytes: what a broker takes as shipped (`socket.request.max.bytes`).
const LONGEST: u32 = 104_857_600;
/// How long the answers to a client that has gone away are waited for, so that what it asked is carried out.
const LINGER: Duration = Duration::from_secs(2);

/// A request of Kafka's protocol, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the protocol")]
pub enum Api {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The connection breaks, and the request never arrives.
    CutBefore,
    /// The request is carried out, then the connection breaks in place of an answer.
    CutAfter,
    /// The connection breaks, and the request arrives when it is released: it was under way for that long.
    Stray,
    /// The request arrives when it is released, and all behind it on the same connection. The client sees that nothing comes.
    Hold,
    /// The request is carried out, its answer arrives when it is released, and all behind it.
    HoldAnswer,
    /// The request is carried out; neither its answer nor anything behind it arrives, and the connection stays.
    Silence,
    /// The request arrives twice. The client gets the first answer.
    Duplicate,
}

/// A proxy in front of some brokers. Dropping it cuts all connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

/// One rule of a [`Proxy`]. Dropping it lets everything pass again, what was held too.
pub struct Fault {
    shared: Arc<Shared>,
    rule: Arc<Rule>,
}

#[derive(Debug)]
struct Shared {
    /// Where a broker listens, and where the proxy listens for it.
    ports: Vec<(u16, u16)>,
    state: Mutex<State>,
    changed: Condvar,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<i16, u64>,
    rules: Vec<Arc<Rule>>,
    /// Both ends of every connection.
    connections: Vec<(TcpStream, TcpStream)>,
}

struct Rule {
    api: Api,
    act: Act,
    strikes: Box<dyn Fn(u64) -> bool + Send + Sync>,
    told: Mutex<Told>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.act, self.api)
    }
}

#[derive(Default)]
struct Told {
    /// Requests of the kind since the rule was made.
    seen: u64,
    struck: u64,
    released: bool,
    answers: Vec<Vec<u8>>,
}

/// A request that the broker has not answered.
struct Pending {
    correlation: i32,
    api: i16,
    version: i16,
    struck: Option<(Arc<Rule>, Deliver)>,
}

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deliver {
    Pass,
    Cut,
    Swallow,
    Hold,
    Silence,
}

/// What both directions of a connection know.
struct Connection {
    shared: Arc<Shared>,
    client: TcpStream,
    broker: TcpStream,
    pending: Mutex<VecDeque<Pending>>,
    answered: Condvar,
}

impl Proxy {
    /// A proxy in front of the brokers that listen on these ports of 127.0.0.1, running or not.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(brokers: &[u16]) -> Proxy {
        let listeners: Vec<(u16, TcpListener)> = brokers
            .iter()
            .map(|broker| match TcpListener::bind((Ipv4Addr::LOCALHOST, crate::free_port())) {
                Ok(listener) => (*broker, listener),
                Err(error) => panic!("the proxy cannot listen: {error}"),
            })
            .collect();
        let own = |listener: &TcpListener| listener.local_addr().map_or(0, |address| address.port());
        let shared = Arc::new(Shared {
            ports: listeners.iter().map(|(broker, listener)| (*broker, own(listener))).collect(),
            state: Mutex::default(),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        for (broker, listener) in listeners {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for client in listener.incoming() {
                    if shared.is_ended() {
                        return;
                    }
                    // A broker that is down is a connection that is refused, as far as that can be had.
                    let _ = client.and_then(|client| shared.connect(client, broker));
                }
            });
        }
        Proxy { shared }
    }

    /// `host:port` of all brokers behind it.
    pub fn bootstrap(&self) -> String {
        let hosts: Vec<String> = self.shared.ports.iter().map(|(_, own)| format!("127.0.0.1:{own}")).collect();
        hosts.join(",")
    }

    /// From now on `act` happens to the requests of a kind whose number, counted from 1 and from now, `strikes` says yes to.
    pub fn inject(&self, api: Api, act: Act, strikes: impl Fn(u64) -> bool + Send + Sync + 'static) -> Fault {
        let rule = Arc::new(Rule { api, act, strikes: Box::new(strikes), told: Mutex::default() });
        self.shared.state().rules.push(Arc::clone(&rule));
        Fault { shared: Arc::clone(&self.shared), rule }
    }

    /// How many requests of a kind have come.
    pub fn seen(&self, api: Api) -> u64 {
        self.shared.state().seen.get(&(api as i16)).copied().unwrap_or(0)
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for (client, broker) in self.shared.state().connections.drain(..) {
            for stream in [client, broker] {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.cut();
        self.shared.changed.notify_all();
        for (_, own) in &self.shared.ports {
            // So that the thread that listens looks whether it is still wanted.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, *own));
        }
    }
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rule.fmt(f)
    }
}

impl Fault {
    /// How many requests it has struck.
    pub fn struck(&self) -> u64 {
        lock(&self.rule.told).struck
    }

    /// Lets go what is held, and what would be held later.
    pub fn release(&self) {
        lock(&self.rule.told).released = true;
        self.shared.wake();
    }

    /// What the brokers answered to what was struck, in the order of the answers, each from its correlation id on. A request that was
    /// doubled has two.
    pub fn answers(&self) -> Vec<Vec<u8>> {
        lock(&self.rule.told).answers.clone()
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.shared.state().rules.retain(|rule| !Arc::ptr_eq(rule, &self.rule));
        self.release();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn wake(&self) {
        // With the lock, so that nobody goes to sleep between looking and waiting.
        let _state = self.state();
        self.changed.notify_all();
    }

    /// Waits until a rule lets go.
    fn wait(&self, rule: &Rule) {
        let mut state = self.state();
        while !lock(&rule.told).released && !self.is_ended() {
            state = self.changed.wait_timeout(state, Duration::from_secs(1)).map_or_else(|e| e.into_inner().0, |w| w.0);
        }
    }

    fn connect(self: &Arc<Shared>, client: TcpStream, port: u16) -> io::Result<()> {
        let broker =
            TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(2))?;
        for stream in [&client, &broker] {
            stream.set_nodelay(true)?;
        }
        {
            let mut state = self.state();
            state.connections.retain(|(client, _)| client.peer_addr().is_ok());
            state.connections.push((client.try_clone()?, broker.try_clone()?));
        }
        let connection = Arc::new(Connection {
            shared: Arc::clone(self),
            client,
            broker,
            pending: Mutex::default(),
            answered: Condvar::new(),
        });
        for direction in [Connection::requests, Connection::answers] {
            let connection = Arc::clone(&connection);
            thread::spawn(move || {
                let _ = direction(&connection);
            });
        }
        Ok(())
    }

    /// Notes a request, and says what is to happen to it.
    fn strike(&self, api: i16) -> Option<Arc<Rule>> {
        let mut state = self.state();
        *state.seen.entry(api).or_default() += 1;
        let mut struck = None;
        for rule in state.rules.iter().filter(|rule| rule.api as i16 == api) {
            let mut told = lock(&rule.told);
            told.seen += 1;
            if struck.is_none() && (rule.strikes)(told.seen) {
                told.struck += 1;
                struck = Some(Arc::clone(rule));
            }
        }
        struck
    }
}

impl Connection {
    /// From the client to the broker, until one of them hangs up.
    fn requests(&self) -> io::Result<()> {
        while let Some(frame) = read_frame(&mut &self.client)? {
            // Length, api key, version, correlation id.
            let Some(([_, _, _, _, a, b, v, w, rest @ ..], _)) = frame.split_first_chunk::<12>() else { break };
            let (api, version) = (i16::from_be_bytes([*a, *b]), i16::from_be_bytes([*v, *w]));
            let correlation = i32::from_be_bytes(*rest);
            let rule = self.shared.strike(api);
            let send = |struck: Option<(Arc<Rule>, Deliver)>| {
                lock(&self.pending).push_back(Pending { correlation, api, version, struck });
                (&self.broker).write_all(&frame)
            };
            let Some(rule) = rule else {
                send(None)?;
                continue;
            };
            let act = rule.act;
            match act {
                Act::CutBefore => return self.cut(),
                Act::CutAfter => send(Some((rule, Deliver::Cut)))?,
                Act::HoldAnswer => send(Some((rule, Deliver::Hold)))?,
                Act::Silence => send(Some((rule, Deliver::Silence)))?,
                Act::Duplicate => {
                    send(Some((Arc::clone(&rule), Deliver::Pass)))?;
                    send(Some((rule, Deliver::Swallow)))?;
                }
                Act::Hold => {
                    self.shared.wait(&rule);
                    send(Some((rule, Deliver::Pass)))?;
                }
                Act::Stray => {
                    let _ = self.client.shutdown(Shutdown::Both);
                    self.shared.wait(&rule);
                    send(Some((rule, Deliver::Swallow)))?;
                    break;
                }
            }
        }
        self.wait_for_answers();
        self.cut()
    }

    /// From the broker to the client, until the broker hangs up.
    fn answers(&self) -> io::Result<()> {
        let (mut silent, mut gone) = (false, false);
        while let Ok(Some(mut frame)) = read_frame(&mut &self.broker) {
            let Some(([_, _, _, _, correlation @ ..], _)) = frame.split_first_chunk::<8>() else { break };
            let correlation = i32::from_be_bytes(*correlation);
            let answered = {
                let mut pending = lock(&self.pending);
                // What stands before it asked for no answer.
                let at = pending.iter().position(|pending| pending.correlation == correlation);
                at.and_then(|at| pending.drain(..=at).next_back())
            };
            let Some(Pending { api, version, struck, .. }) = answered else { break };
            rewrite::ports(&mut frame[4..], api, version, &self.shared.ports);
            if let Some((rule, deliver)) = struck {
                lock(&rule.told).answers.push(frame[4..].to_vec());
                match deliver {
                    Deliver::Pass => {}
                    Deliver::Cut => break,
                    Deliver::Swallow => {
                        self.answered.notify_all();
                        continue;
                    }
                    Deliver::Hold => self.shared.wait(&rule),
                    Deliver::Silence => silent = true,
                }
            }
            if !silent && !gone {
                gone = (&self.client).write_all(&frame).is_err();
            }
            self.answered.notify_all();
        }
        self.cut()
    }

    /// Waits until the broker has answered everything, or does not.
    fn wait_for_answers(&self) {
        let pending = lock(&self.pending);
        drop(self.answered.wait_timeout_while(pending, LINGER, |pending| !pending.is_empty()));
    }

    fn cut(&self) -> io::Result<()> {
        let _ = self.client.shutdown(Shutdown::Both);
        self.broker.shutdown(Shutdown::Both)
    }
}

/// A whole frame, its length included; `None` at the end of the stream.
fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; 4];
    if let Err(error) = stream.read_exact(&mut frame) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let length = frame.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
    if length > LONGEST {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    // It grows as the bytes come, whatever the length claims.
    let read = stream.take(u64::from(length)).read_to_end(&mut frame)?;
    Ok((read == length as usize).then_some(frame))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
