//! Connections to brokers: sockets that never block, requests out, answers in.
//!
//! A broker reads the next request of a connection only when it has answered the one before, and a request to join a group
//! or to fetch may wait there for long. So each [`Role`] has a connection of its own. What is lost with a connection is told
//! to whoever asked; asking again is theirs.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use weir_wire::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataResponseBroker};
use weir_wire::{ApiKey, ErrorCode, Message, Reader, Text, header, request_frame};

use super::frames::{Buffers, Frames};

/// How long a connection may take until it can be used.
const CONNECT: Duration = Duration::from_secs(10);
/// The waits between two tries to connect: at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// What is read at once where no large frame is on its way, in bytes.
const CHUNK: usize = 16 << 10;
/// Pieces of memory per write.
const PIECES: usize = 64;

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

struct Flight<A> {
    correlation: i32,
    key: ApiKey,
    version: i16,
    /// `None` for the connection's own question about versions.
    ask: Option<A>,
    deadline: Instant,
}

struct Link<A> {
    stream: TcpStream,
    connected: bool,
    out: VecDeque<Bytes>,
    frames: Frames,
    flights: VecDeque<Flight<A>>,
    versions: Option<Versions>,
    correlation: i32,
}

/// What a broker offers.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    ranges: BTreeMap<i16, (i16, i16)>,
    /// The level of the feature `transaction.version` (KIP-890).
    pub(super) transactions: i16,
}

struct Slot<A> {
    node: i32,
    role: Role,
    link: Option<Link<A>>,
    failures: u32,
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
    buffers: Buffers,
    chunk: Box<[u8]>,
    jitter: u64,
    turn: usize,
    last_error: Option<String>,
}

impl<A> Net<A> {
    /// No connection yet. `bootstrap` is `host:port`, several separated by commas; `seed` makes the jitter.
    ///
    /// # Errors
    /// Where the system gives no way to wait for sockets.
    pub(super) fn new(bootstrap: &str, client_id: &str, seed: u64) -> io::Result<Net<A>> {
        let hosts = bootstrap.split(',').filter_map(|host| {
            let host = host.trim().rsplit("://").next()?;
            let (name, port) = host.rsplit_once(':').unwrap_or((host, "9092"));
            Some((name.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        });
        Ok(Net {
            poll: Poll::new()?,
            events: Events::with_capacity(64),
            slots: Vec::new(),
            nodes: (0..).map(|n: i32| -1 - n).zip(hosts).collect(),
            client_id: Text::from(client_id),
            buffers: Buffers::default(),
            chunk: vec![0; CHUNK].into_boxed_slice(),
            jitter: seed | 1,
            turn: 0,
            last_error: None,
        })
    }

    /// Why the last connection was lost, once.
    pub(super) fn take_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    /// Takes over where the brokers are. Those that are gone keep their connections until these break.
    pub(super) fn set_nodes(&mut self, brokers: &[MetadataResponseBroker]) {
        self.nodes.retain(|node, _| *node < 0);
        for broker in brokers {
            if let (Ok(port), true) = (u16::try_from(broker.port), broker.node_id >= 0) {
                self.nodes.insert(broker.node_id, (broker.host.as_str().to_owned(), port));
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
                self.slots.push(Slot { node, role, link: None, failures: 0, not_before: None });
                self.slots.len() - 1
            }
        };
        let slot = &self.slots[at];
        if slot.not_before.is_some_and(|until| until > now) {
            return None;
        }
        match &slot.link {
            Some(link) => link.versions.is_some().then_some(at),
            None => {
                self.connect(at, now);
                None
            }
        }
    }

    /// A connection to any broker, for questions that every one answers.
    pub(super) fn any(&mut self, now: Instant) -> Option<usize> {
        let usable = |slot: &Slot<A>| {
            slot.role == Role::Control
                && slot.not_before.is_none_or(|until| until <= now)
                && slot.link.as_ref().is_some_and(|link| link.versions.is_some())
        };
        if let Some(at) = self.slots.iter().position(usable) {
            return Some(at);
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
        let correlation = link.correlation;
        link.correlation = link.correlation.wrapping_add(1);
        link.flights.push_back(Flight { correlation, key: M::KEY, version, ask: Some(ask), deadline: now + timeout });
        match request_frame(body, version, correlation, Some(&self.client_id)) {
            Ok(mut pieces) => {
                change(&mut pieces);
                link.out.extend(pieces);
                if let Err(error) = link.write() {
                    // The event that tells of the loss follows.
                    self.last_error = Some(error.to_string());
                }
            }
            Err(error) => {
                tracing::error!(%error, api = %M::KEY, "a request cannot be written");
                if let Some(flight) = link.flights.back_mut() {
                    flight.deadline = now;
                }
            }
        }
    }

    /// The version that is spoken, if any.
    pub(super) fn version(&self, slot: usize, key: ApiKey, most: i16) -> Option<i16> {
        let (least, offered) = *self.versions(slot)?.ranges.get(&key.number())?;
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
            if let Err(reason) = self.serve(at, answers) {
                self.lose(at, &reason, answers);
            }
        }
        let now = Instant::now();
        for at in 0..self.slots.len() {
            let mut flights = self.slots[at].link.iter().flat_map(|link| &link.flights);
            if flights.any(|flight| flight.deadline <= now) {
                self.lose(at, "no answer in time", answers);
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
        match connected {
            Ok(stream) => {
                drop(stream.set_nodelay(true));
                let mut link = Link {
                    stream,
                    connected: false,
                    out: VecDeque::new(),
                    frames: Frames::default(),
                    flights: VecDeque::new(),
                    versions: None,
                    correlation: 0,
                };
                link.ask_versions(3, &self.client_id, now + CONNECT);
                self.slots[at].link = Some(link);
            }
            Err(error) => self.back_off(at, &error.to_string(), now),
        }
    }

    fn back_off(&mut self, at: usize, reason: &str, now: Instant) {
        let slot = &mut self.slots[at];
        let pause = BACKOFF.0.saturating_mul(1 << slot.failures.min(10)).min(BACKOFF.1);
        slot.failures = slot.failures.saturating_add(1);
        // Between half and the whole, so that many clients do not come back at once (xorshift).
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let share = 0.5 + (self.jitter % 1024) as f64 / 2048.0;
        slot.not_before = Some(now + pause.mul_f64(share));
        self.last_error = Some(reason.to_owned());
    }

    /// Reads and writes what can be without waiting.
    fn serve(&mut self, at: usize, answers: &mut Vec<Answer<A>>) -> Result<(), String> {
        let Some(link) = self.slots.get_mut(at).and_then(|slot| slot.link.as_mut()) else { return Ok(()) };
        if !link.connected {
            if let Ok(Some(error)) | Err(error) = link.stream.take_error() {
                return Err(error.to_string());
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

    fn answer(&mut self, at: usize, frame: Bytes, answers: &mut Vec<Answer<A>>) -> Result<(), String> {
        let slot = &mut self.slots[at];
        let Some(link) = slot.link.as_mut() else { return Ok(()) };
        let flight = link.flights.pop_front().ok_or("an answer that nobody asked for")?;
        let mut reader = Reader::new(frame);
        let correlation = header::read_response_header(&mut reader, flight.key, flight.version);
        if correlation.as_ref() != Ok(&flight.correlation) {
            let reason = "an answer to something else".to_owned();
            link.flights.push_front(flight);
            return Err(reason);
        }
        match flight.ask {
            Some(ask) => answers.push(Answer { slot: at, ask, outcome: Ok((reader, flight.version)) }),
            None => {
                let deadline = flight.deadline;
                match Versions::read(&mut reader, flight.version)? {
                    Some(versions) => {
                        link.versions = Some(versions);
                        slot.failures = 0;
                    }
                    None => link.ask_versions(0, &self.client_id, deadline),
                }
            }
        }
        Ok(())
    }

    fn lose(&mut self, at: usize, reason: &str, answers: &mut Vec<Answer<A>>) {
        let slot = &mut self.slots[at];
        let Some(mut link) = slot.link.take() else { return };
        drop(self.poll.registry().deregister(&mut link.stream));
        let address = self.nodes.get(&slot.node).map_or_else(String::new, |(host, port)| format!("{host}:{port}"));
        let idle = link.flights.is_empty();
        let gone = Gone { address, reason: reason.to_owned() };
        for flight in link.flights {
            if let Some(ask) = flight.ask {
                answers.push(Answer { slot: at, ask, outcome: Err(gone.clone()) });
            }
        }
        // A broker closes what is idle for long; that is no failure and the next use connects at once.
        if !idle {
            tracing::debug!(%gone, "connection lost");
            self.back_off(at, &gone.to_string(), Instant::now());
        }
    }
}

impl<A> Link<A> {
    fn ask_versions(&mut self, version: i16, client_id: &Text, deadline: Instant) {
        let body = ApiVersionsRequest {
            client_software_name: Text::from_static("weir"),
            client_software_version: Text::from_static(env!("CARGO_PKG_VERSION")),
        };
        let correlation = self.correlation;
        self.correlation = self.correlation.wrapping_add(1);
        self.out.extend(request_frame(&body, version, correlation, Some(client_id)).unwrap_or_default());
        self.flights.push_back(Flight { correlation, key: ApiKey::ApiVersions, version, ask: None, deadline });
        if self.connected {
            // An error shows again at the next event.
            drop(self.write());
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.connected && !self.out.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.out.len().min(PIECES);
            for (slice, piece) in pieces.iter_mut().zip(&self.out) {
                *slice = IoSlice::new(piece);
            }
            match self.stream.write_vectored(&pieces[..count]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(mut written) => {
                    while let Some(piece) = self.out.front_mut() {
                        if written < piece.len() {
                            drop(piece.split_to(written));
                            break;
                        }
                        written -= piece.len();
                        self.out.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffers: &mut Buffers, chunk: &mut [u8], whole: &mut Vec<Bytes>) -> Result<(), String> {
        loop {
            let direct = self.frames.room(buffers);
            let is_direct = direct.is_some();
            let read = match direct {
                Some(room) => self.stream.read(room),
                None => self.stream.read(chunk),
            };
            match read {
                Ok(0) => return Err("the broker closed the connection".to_owned()),
                Ok(count) if is_direct => whole.extend(self.frames.advance(count, buffers)),
                Ok(count) => self
                    .frames
                    .feed(&chunk[..count], buffers, |frame| whole.push(frame))
                    .map_err(|length| format!("an answer of {} bytes, which cannot be", length.0))?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

impl Versions {
    /// `None` where the broker does not know the version of the question; it is then to be asked in version 0 (KIP-511).
    fn read(reader: &mut Reader, version: i16) -> Result<Option<Versions>, String> {
        let mut first = reader.clone();
        if version > 0 && first.i16().is_ok_and(|code| code == ErrorCode::UNSUPPORTED_VERSION.0) {
            return Ok(None);
        }
        let response = ApiVersionsResponse::read(reader, version).map_err(|error| error.to_string())?;
        response.error_code.ok().map_err(|code| format!("versions: {code}"))?;
        let transactions = response.finalized_features.iter().find(|feature| &*feature.name == "transaction.version");
        Ok(Some(Versions {
            ranges: response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect(),
            transactions: transactions.map_or(0, |feature| feature.max_version_level),
        }))
    }
}
