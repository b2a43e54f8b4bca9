//! Connections to brokers: sockets that never block, requests out, answers in.
//!
//! A broker reads the next request of a connection only when it has answered the one before, and a request to join a group
//! or to fetch may wait there for long. So each [`Role`] has a connection of its own. What is lost with a connection is told
//! to whoever asked; asking again is theirs.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use weir_wire::messages::MetadataResponseBroker;
use weir_wire::{ApiKey, Message, Reader, Text, header, request_frame};

use super::frames::Buffers;
use super::link::{Broken, CONNECT, Link, Versions};
use super::sasl::Sasl;
use super::security::Cluster;
use super::tls::Connector;

/// The waits between two tries to connect: at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The same where the two sides do not trust each other: a broker may count such tries.
const REFUSED: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// What is read at once where no large frame is on its way, in bytes.
const CHUNK: usize = 16 << 10;
/// The same where everything comes encrypted, several records of TLS at once.
const SEALED_CHUNK: usize = 64 << 10;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// Everything that is answered at once.
    Control,
    /// Joining and staying in the group.
    Group,
    /// Fetching.
    Fetch,
    /// Producing.
    Produce,
}

/// An answer, or the news that there will be none.
pub(super) struct Answer<A> {
    pub(super) slot: usize,
    pub(super) ask: A,
    /// The body and its version.
    pub(super) outcome: Result<(Reader, i16), Gone>,
}

/// The connection was lost, or the answer did not come in time. Whether the request was carried out nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer from {address}: {reason}")]
pub(super) struct Gone {
    address: String,
    reason: String,
}

struct Slot<A> {
    node: i32,
    role: Role,
    link: Option<Link<A>>,
    failures: u32,
    /// Why the last try failed, where the two sides do not trust each other.
    refusal: Option<String>,
    /// Not to be used, or connected to, before.
    not_before: Option<Instant>,
}

/// All connections of a worker.
pub(super) struct Net<A> {
    poll: Poll,
    events: Events,
    slots: Vec<Slot<A>>,
    /// Brokers by node id; those that were only given as bootstrap have negative ones.
    nodes: BTreeMap<i32, (String, u16)>,
    client_id: Text,
    tls: Option<Connector>,
    sasl: Option<Arc<Sasl>>,
    buffers: Buffers,
    chunk: Box<[u8]>,
    jitter: u64,
    turn: usize,
    last_error: Option<String>,
}

impl<A> Net<A> {
    /// No connection yet; `seed` makes the jitter.
    ///
    /// # Errors
    /// Where the system gives no way to wait for sockets.
    pub(super) fn new(cluster: &Cluster, seed: u64) -> io::Result<Net<A>> {
        let hosts = cluster.bootstrap.split(',').filter_map(|host| {
            let host = host.trim().rsplit("://").next()?;
            let (name, port) = host.rsplit_once(':').unwrap_or((host, "9092"));
            Some((name.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        });
        Ok(Net {
            poll: Poll::new()?,
            events: Events::with_capacity(64),
            slots: Vec::new(),
            nodes: (0..).map(|n: i32| -1 - n).zip(hosts).collect(),
            client_id: Text::from(cluster.client_id.as_str()),
            tls: cluster.trust.clone().map(Connector::new),
            sasl: cluster.sasl.clone(),
            buffers: Buffers::default(),
            chunk: vec![0; if cluster.trust.is_some() { SEALED_CHUNK } else { CHUNK }].into_boxed_slice(),
            jitter: seed | 1,
            turn: 0,
            last_error: None,
        })
    }

    /// Why the last connection was lost, once.
    pub(super) fn take_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    /// Why a broker and this worker do not trust each other, where that is so.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.slots.iter().find_map(|slot| slot.refusal.as_deref())
    }

    /// Takes over where the brokers are. Those that are gone keep their connections until these break.
    pub(super) fn set_nodes(&mut self, brokers: &[MetadataResponseBroker]) {
        self.nodes.retain(|node, _| *node < 0);
        for broker in brokers {
            if let (Ok(port), true) = (u16::try_from(broker.port), broker.node_id >= 0) {
                self.nodes.insert(broker.node_id, (broker.host.as_str().to_owned(), port));
            }
        }
        // What a broker that is gone had against us, or one that was only a way in, says nothing any more.
        for slot in &mut self.slots {
            if slot.node < 0 || !self.nodes.contains_key(&slot.node) {
                slot.refusal = None;
            }
        }
    }

    /// Learns where one broker is.
    pub(super) fn add_node(&mut self, node: i32, host: &str, port: i32) {
        if let (Ok(port), true) = (u16::try_from(port), node >= 0 && !host.is_empty()) {
            self.nodes.insert(node, (host.to_owned(), port));
        }
    }

    /// The connection to a broker, if it can be used now; else it is made, and there is an event when it can.
    pub(super) fn ready(&mut self, node: i32, role: Role, now: Instant) -> Option<usize> {
        let at = match self.slots.iter().position(|slot| slot.node == node && slot.role == role) {
            Some(at) => at,
            None => {
                self.slots.push(Slot { node, role, link: None, failures: 0, refusal: None, not_before: None });
                self.slots.len() - 1
            }
        };
        let slot = &self.slots[at];
        if slot.not_before.is_some_and(|until| until > now) {
            return None;
        }
        match &slot.link {
            Some(_) => self.is_usable(at, now).then_some(at),
            None => {
                self.connect(at, now);
                None
            }
        }
    }

    /// Whether a broker could not be reached when that was last tried.
    pub(super) fn is_unreachable(&self, node: i32, role: Role) -> bool {
        let unreachable = |slot: &Slot<A>| slot.link.is_none() && slot.failures > 0;
        self.slots.iter().any(|slot| slot.node == node && slot.role == role && unreachable(slot))
    }

    /// Whether requests may be sent now; if the session of a connection is about to end, it is renewed first.
    fn is_usable(&mut self, at: usize, now: Instant) -> bool {
        let Some(link) = self.slots[at].link.as_mut() else { return false };
        if let (true, Some(sasl)) = (link.is_to_renew(now), &self.sasl) {
            tracing::debug!("authenticating again");
            if let Err(error) = link.authenticate(sasl, &self.client_id, now) {
                tracing::error!(reason = error.reason, "cannot authenticate again");
            }
        }
        link.is_ready()
    }

    /// A connection to any broker, for questions that every one answers.
    pub(super) fn any(&mut self, now: Instant) -> Option<usize> {
        let usable = |slot: &Slot<A>| {
            slot.role == Role::Control
                && slot.not_before.is_none_or(|until| until <= now)
                && slot.link.as_ref().is_some_and(Link::is_ready)
        };
        if let Some(at) = self.slots.iter().position(usable) {
            return self.is_usable(at, now).then_some(at);
        }
        let connecting = self.slots.iter().any(|slot| slot.role == Role::Control && slot.link.is_some());
        if !connecting && !self.nodes.is_empty() {
            let known: Vec<i32> = self.nodes.keys().copied().collect();
            self.turn = self.turn.wrapping_add(1);
            let node = known[self.turn % known.len()];
            return self.ready(node, Role::Control, now);
        }
        None
    }

    /// Requests of a connection that are not answered.
    pub(super) fn in_flight(&self, slot: usize) -> usize {
        self.slots[slot].link.as_ref().map_or(0, |link| link.flights.len())
    }

    /// What the broker of a connection offers.
    pub(super) fn versions(&self, slot: usize) -> Option<&Versions> {
        self.slots[slot].link.as_ref()?.versions.as_ref()
    }

    /// Leaves a connection alone for as long as the broker asks (KIP-219).
    pub(super) fn throttle(&mut self, slot: usize, millis: i32, now: Instant) {
        if let Ok(millis @ 1..) = u64::try_from(millis) {
            self.slots[slot].not_before = Some(now + Duration::from_millis(millis.min(60_000)));
        }
    }

    /// Sends a request in the highest version that both sides know, at most `most`. The answer, or the news that there is
    /// none, comes with `ask`.
    pub(super) fn send<M: Message>(
        &mut self,
        slot: usize,
        body: &M,
        most: i16,
        ask: A,
        timeout: Duration,
        now: Instant,
    ) {
        self.send_pieces(slot, body, most, ask, timeout, now, |_| {});
    }

    /// As [`Net::send`], with a last change of the pieces of memory that make up the request.
    #[allow(clippy::too_many_arguments, reason = "a request, and how it goes out")]
    pub(super) fn send_pieces<M: Message>(
        &mut self,
        slot: usize,
        body: &M,
        most: i16,
        ask: A,
        timeout: Duration,
        now: Instant,
        change: impl FnOnce(&mut Vec<Bytes>),
    ) {
        // What the broker does not offer is sent all the same, and its refusal is the answer.
        let version = self.version(slot, M::KEY, most).unwrap_or(*M::VERSIONS.start());
        let Some(link) = self.slots[slot].link.as_mut() else { return };
        match request_frame(body, version, link.correlation(), Some(&self.client_id)) {
            Ok(mut pieces) => {
                change(&mut pieces);
                link.push(M::KEY, version, Some(ask), now + timeout, pieces);
                if let Err(error) = link.write() {
                    // The event that tells of the loss follows.
                    self.last_error = Some(error.to_string());
                }
            }
            Err(error) => {
                tracing::error!(%error, api = %M::KEY, "a request cannot be written");
                link.push(M::KEY, version, Some(ask), now, []);
            }
        }
    }

    /// The version that is spoken, if any.
    pub(super) fn version(&self, slot: usize, key: ApiKey, most: i16) -> Option<i16> {
        let (least, offered) = self.versions(slot)?.range(key)?;
        let version = most.min(offered).min(*key.versions().end());
        (version >= least && version >= *key.versions().start()).then_some(version)
    }

    /// Waits for something to happen, at most for `timeout`, and hands over the answers.
    pub(super) fn wait(&mut self, timeout: Duration, answers: &mut Vec<Answer<A>>) {
        let now = Instant::now();
        let sooner = self.slots.iter().filter_map(|slot| {
            let flight = slot.link.as_ref().and_then(|link| link.flights.iter().map(|flight| flight.deadline).min());
            flight.into_iter().chain(slot.not_before.filter(|until| *until > now)).min()
        });
        let timeout = sooner.min().map_or(timeout, |at| timeout.min(at.saturating_duration_since(now)));
        if let Err(error) = self.poll.poll(&mut self.events, Some(timeout)) {
            if error.kind() != ErrorKind::Interrupted {
                tracing::error!(%error, "cannot wait for sockets");
            }
            return;
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for at in ready {
            if let Err(broken) = self.serve(at, answers) {
                self.lose(at, broken, answers);
            }
        }
        let now = Instant::now();
        for at in 0..self.slots.len() {
            let mut flights = self.slots[at].link.iter().flat_map(|link| &link.flights);
            if flights.any(|flight| flight.deadline <= now) {
                self.lose(at, "no answer in time".into(), answers);
            }
        }
    }

    fn connect(&mut self, at: usize, now: Instant) {
        let Some((host, port)) = self.nodes.get(&self.slots[at].node) else { return };
        let failures = self.slots[at].failures;
        let connected = (host.as_str(), *port).to_socket_addrs().and_then(|addresses| {
            let addresses: Vec<SocketAddr> = addresses.collect();
            let address = addresses.get(failures as usize % addresses.len().max(1));
            let mut stream = TcpStream::connect(*address.ok_or_else(|| io::Error::other("the name has no address"))?)?;
            self.poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        let tls = self.tls.as_mut().map(|tls| tls.connect(host)).transpose();
        let made = match (connected, tls) {
            (Ok(stream), Ok(tls)) => {
                drop(stream.set_nodelay(true));
                let mut link = Link::new(stream, tls);
                let asked = link.ask_versions(3, &self.client_id, now + CONNECT);
                self.slots[at].link = Some(link);
                asked
            }
            (Err(error), _) => Err(error.to_string().into()),
            (_, Err(reason)) => Err(Broken::refused(reason)),
        };
        if let Err(broken) = made {
            self.slots[at].link = None;
            self.back_off(at, broken, now);
        }
    }

    fn back_off(&mut self, at: usize, broken: Broken, now: Instant) {
        let slot = &mut self.slots[at];
        let (first, most) = if broken.refused { REFUSED } else { BACKOFF };
        let pause = first.saturating_mul(1 << slot.failures.min(10)).min(most);
        slot.failures = slot.failures.saturating_add(1);
        // Between half and the whole, so that many clients do not come back at once (xorshift).
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let share = 0.5 + (self.jitter % 1024) as f64 / 2048.0;
        slot.not_before = Some(now + pause.mul_f64(share));
        if broken.refused {
            tracing::warn!(reason = broken.reason, "a broker and this worker do not trust each other");
            self.slots[at].refusal = Some(broken.reason.clone());
        }
        self.last_error = Some(broken.reason);
    }

    /// Reads and writes what can be without waiting.
    fn serve(&mut self, at: usize, answers: &mut Vec<Answer<A>>) -> Result<(), Broken> {
        let Some(link) = self.slots.get_mut(at).and_then(|slot| slot.link.as_mut()) else { return Ok(()) };
        if !link.connected {
            if let Ok(Some(error)) | Err(error) = link.stream.take_error() {
                return Err(error.to_string().into());
            }
            if link.stream.peer_addr().is_err() {
                return Ok(());
            }
            link.connected = true;
        }
        link.write().map_err(|error| error.to_string())?;
        let mut whole = Vec::new();
        let read = link.read(&mut self.buffers, &mut self.chunk, &mut whole);
        for frame in whole {
            self.answer(at, frame, answers)?;
        }
        read
    }

    fn answer(&mut self, at: usize, frame: Bytes, answers: &mut Vec<Answer<A>>) -> Result<(), Broken> {
        let slot = &mut self.slots[at];
        let Some(link) = slot.link.as_mut() else { return Ok(()) };
        let flight = link.flights.pop_front().ok_or("an answer that nobody asked for")?;
        let mut reader = Reader::new(frame);
        let correlation = header::read_response_header(&mut reader, flight.key, flight.version);
        if correlation.as_ref() != Ok(&flight.correlation) {
            link.flights.push_front(flight);
            return Err("an answer to something else".into());
        }
        match flight.ask {
            Some(ask) => answers.push(Answer { slot: at, ask, outcome: Ok((reader, flight.version)) }),
            None => {
                let sasl = self.sasl.as_deref();
                if link.answer(reader, &flight, sasl, &self.client_id, Instant::now())? {
                    slot.failures = 0;
                    slot.refusal = None;
                }
            }
        }
        Ok(())
    }

    fn lose(&mut self, at: usize, broken: Broken, answers: &mut Vec<Answer<A>>) {
        let slot = &mut self.slots[at];
        let Some(mut link) = slot.link.take() else { return };
        drop(self.poll.registry().deregister(&mut link.stream));
        let address = self.nodes.get(&slot.node).map_or_else(String::new, |(host, port)| format!("{host}:{port}"));
        let idle = link.flights.is_empty() && link.is_ready() && !broken.refused;
        let gone = Gone { address, reason: broken.reason };
        for flight in link.flights {
            if let Some(ask) = flight.ask {
                answers.push(Answer { slot: at, ask, outcome: Err(gone.clone()) });
            }
        }
        // A broker closes what is idle for long; that is no failure and the next use connects at once.
        if !idle {
            tracing::debug!(%gone, "connection lost");
            self.back_off(at, Broken { reason: gone.to_string(), ..broken }, Instant::now());
        }
    }
}
