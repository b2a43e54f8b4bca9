//! One connection to a broker, from the socket to the moment it can be used, and its bytes in and out.
//!
//! A connection is made, TLS comes about where it is asked for, the broker says which versions it offers, and where it wants
//! to know who asks, SASL tells it (KIP-43, KIP-152). The last is done again before a session ends (KIP-368): the broker then
//! answers what was asked before, and nothing else is asked until it is done.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mio::net::TcpStream;
use weir_wire::messages::{
    ApiVersionsRequest, ApiVersionsResponse, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use weir_wire::{ApiKey, ErrorCode, Message, Reader, Text, request_frame};

use super::frames::{Buffers, Frames, Impossible};
use super::sasl::{Exchange, Sasl};
use super::tls::Tls;

/// How long a connection may take until it can be used.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// Pieces of memory per write.
const PIECES: usize = 64;

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) reason: String,
    /// Whether the two sides do not trust each other, which does not mend itself.
    pub(super) refused: bool,
}

impl Broken {
    pub(super) fn refused(reason: impl Into<String>) -> Broken {
        Broken { reason: reason.into(), refused: true }
    }

    pub(super) fn impossible(length: Impossible) -> Broken {
        // What a TLS listener says to one who does not speak TLS: an alert, read as a length.
        if length.0.to_be_bytes()[..2] == [0x15, 0x03] {
            return Broken::refused("the listener speaks TLS; set security.protocol to ssl or sasl_ssl");
        }
        format!("an answer of {} bytes, which cannot be", length.0).into()
    }
}

impl<T: Into<String>> From<T> for Broken {
    fn from(reason: T) -> Broken {
        Broken { reason: reason.into(), refused: false }
    }
}

/// A request that is not answered.
pub(super) struct Flight<A> {
    pub(super) correlation: i32,
    pub(super) key: ApiKey,
    pub(super) version: i16,
    /// `None` for the connection's own questions.
    pub(super) ask: Option<A>,
    pub(super) deadline: Instant,
}

/// What a broker offers.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    ranges: BTreeMap<i16, (i16, i16)>,
    /// The level of the feature `transaction.version` (KIP-890).
    pub(super) transactions: i16,
}

/// How far a connection has come.
enum Phase {
    /// The broker is to say what it offers.
    Versions,
    /// It is to take the mechanism.
    Mechanism,
    /// It is to believe who we are.
    Proof(Exchange),
    Ready,
}

/// A connection.
pub(super) struct Link<A> {
    pub(super) stream: TcpStream,
    tls: Option<Box<Tls>>,
    pub(super) connected: bool,
    out: VecDeque<Bytes>,
    frames: Frames,
    pub(super) flights: VecDeque<Flight<A>>,
    pub(super) versions: Option<Versions>,
    phase: Phase,
    /// When to say again who we are.
    renew: Option<Instant>,
    correlation: i32,
}

impl<A> Link<A> {
    /// A connection on a socket that is being connected.
    pub(super) fn new(stream: TcpStream, tls: Option<Tls>) -> Link<A> {
        Link {
            stream,
            tls: tls.map(Box::new),
            connected: false,
            out: VecDeque::new(),
            frames: Frames::default(),
            flights: VecDeque::new(),
            versions: None,
            phase: Phase::Versions,
            renew: None,
            correlation: 0,
        }
    }

    /// Whether requests may be sent.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// Whether it is time to say again who we are.
    pub(super) fn is_to_renew(&self, now: Instant) -> bool {
        self.is_ready() && self.renew.is_some_and(|at| at <= now)
    }

    /// Queues a request and says where it is known by.
    pub(super) fn push(
        &mut self,
        key: ApiKey,
        version: i16,
        ask: Option<A>,
        deadline: Instant,
        pieces: impl IntoIterator<Item = Bytes>,
    ) {
        let correlation = self.correlation;
        self.correlation = self.correlation.wrapping_add(1);
        self.flights.push_back(Flight { correlation, key, version, ask, deadline });
        self.out.extend(pieces);
    }

    /// The number of the next request.
    pub(super) fn correlation(&self) -> i32 {
        self.correlation
    }

    fn ask<M: Message>(&mut self, body: &M, version: i16, client_id: &Text, deadline: Instant) -> Result<(), Broken> {
        let pieces =
            request_frame(body, version, self.correlation, Some(client_id)).map_err(|error| error.to_string())?;
        self.push(M::KEY, version, None, deadline, pieces);
        if self.connected {
            // An error shows again at the next event.
            drop(self.write());
        }
        Ok(())
    }

    /// Asks what the broker offers.
    pub(super) fn ask_versions(&mut self, version: i16, client_id: &Text, deadline: Instant) -> Result<(), Broken> {
        let body = ApiVersionsRequest {
            client_software_name: Text::from_static("weir"),
            client_software_version: Text::from_static(env!("CARGO_PKG_VERSION")),
        };
        self.ask(&body, version, client_id, deadline)
    }

    /// Begins to say who we are, for the first time or again.
    pub(super) fn authenticate(&mut self, sasl: &Sasl, client_id: &Text, now: Instant) -> Result<(), Broken> {
        self.renew = None;
        self.phase = Phase::Mechanism;
        // Answers come in order: what was asked before may take as long as it was given.
        let busy = self.flights.iter().map(|flight| flight.deadline).max().unwrap_or(now);
        let body = SaslHandshakeRequest { mechanism: Text::from_static(sasl.mechanism()) };
        self.ask(&body, 1, client_id, busy.max(now) + CONNECT)
    }

    /// Takes the answer to a question of the connection's own; whether it is ready now and was not before.
    pub(super) fn answer(
        &mut self,
        mut reader: Reader,
        flight: &Flight<A>,
        sasl: Option<&Sasl>,
        client_id: &Text,
        now: Instant,
    ) -> Result<bool, Broken> {
        let (version, deadline) = (flight.version, flight.deadline);
        match std::mem::replace(&mut self.phase, Phase::Versions) {
            Phase::Versions => match (Versions::read(&mut reader, version)?, sasl) {
                (None, _) => self.ask_versions(0, client_id, deadline)?,
                (Some(versions), None) => {
                    self.versions = Some(versions);
                    self.phase = Phase::Ready;
                }
                (Some(versions), Some(sasl)) => {
                    self.versions = Some(versions);
                    self.authenticate(sasl, client_id, now)?;
                }
            },
            Phase::Mechanism => {
                let sasl = sasl.ok_or("an answer that nobody asked for")?;
                let response = SaslHandshakeResponse::read(&mut reader, version).map_err(|error| error.to_string())?;
                if !response.error_code.is_none() {
                    let offered: Vec<&str> = response.mechanisms.iter().take(16).map(Text::as_str).collect();
                    return Err(Broken::refused(match response.error_code {
                        ErrorCode::ILLEGAL_SASL_STATE => {
                            "the listener asks nobody who they are; set security.protocol to plaintext or ssl"
                                .to_owned()
                        }
                        code => format!(
                            "the broker does not take {} ({code}); it offers: {}",
                            sasl.mechanism(),
                            offered.join(", ")
                        ),
                    }));
                }
                let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                let (exchange, first) = sasl.start(seconds)?;
                self.prove(exchange, first, client_id, deadline)?;
            }
            Phase::Proof(mut exchange) => {
                let response =
                    SaslAuthenticateResponse::read(&mut reader, version).map_err(|error| error.to_string())?;
                if !response.error_code.is_none() {
                    let message = response.error_message.as_ref().map_or("", |message| message.as_str());
                    return Err(Broken::refused(format!("authentication failed: {} {message}", response.error_code)));
                }
                let next = exchange.answer(&response.auth_bytes);
                match next.map_err(|reason| Broken::refused(format!("authentication failed: {reason}")))? {
                    Some(message) => self.prove(exchange, message, client_id, deadline)?,
                    None => {
                        self.phase = Phase::Ready;
                        self.renew = renewal(response.session_lifetime_ms, now);
                    }
                }
            }
            Phase::Ready => return Err("an answer that nobody asked for".into()),
        }
        Ok(self.is_ready())
    }

    fn prove(&mut self, exchange: Exchange, message: Bytes, client_id: &Text, deadline: Instant) -> Result<(), Broken> {
        self.phase = Phase::Proof(exchange);
        let offered = self.versions.as_ref().and_then(|versions| versions.range(ApiKey::SaslAuthenticate));
        let version = offered.map_or(0, |(_, most)| most.clamp(0, 2));
        self.ask(&SaslAuthenticateRequest { auth_bytes: message }, version, client_id, deadline)
    }

    /// Writes what can be without waiting.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if !self.connected {
            return Ok(());
        }
        if let Some(tls) = &mut self.tls {
            return tls.write(&mut self.out, &mut self.stream);
        }
        while !self.out.is_empty() {
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

    /// Reads what is there, and hands out the frames that become whole.
    pub(super) fn read(
        &mut self,
        buffers: &mut Buffers,
        chunk: &mut [u8],
        whole: &mut Vec<Bytes>,
    ) -> Result<(), Broken> {
        if let Some(tls) = &mut self.tls {
            tls.read(&mut self.stream, chunk, &mut self.frames, buffers, whole)?;
            // The handshake goes on, and what waited for it.
            return tls.write(&mut self.out, &mut self.stream).map_err(|error| error.to_string().into());
        }
        loop {
            let direct = self.frames.room(buffers);
            let is_direct = direct.is_some();
            let read = match direct {
                Some(room) => self.stream.read(room),
                None => self.stream.read(chunk),
            };
            match read {
                Ok(0) if self.versions.is_none() => {
                    return Err(
                        "the broker closed the connection before it could be used; is it plain text that this \
                                listener speaks? see security.protocol"
                            .into(),
                    );
                }
                Ok(0) => return Err("the broker closed the connection".into()),
                Ok(count) if is_direct => whole.extend(self.frames.advance(count, buffers)),
                Ok(count) => {
                    self.frames.feed(&chunk[..count], buffers, |frame| whole.push(frame)).map_err(Broken::impossible)?
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string().into()),
            }
        }
    }
}

/// When to say again who we are: well before the broker ends the session, and not twice within a second, which it refuses.
fn renewal(lifetime_ms: i64, now: Instant) -> Option<Instant> {
    let lifetime = Duration::from_millis(u64::try_from(lifetime_ms).ok().filter(|lifetime| *lifetime > 0)?);
    now.checked_add(lifetime.mul_f64(0.85).max(Duration::from_millis(1_100)))
}

/// The first version of TxnOffsetCommit that says of which generation of the group the offsets are (KIP-447).
const GENERATIONS: i16 = 3;

impl Versions {
    /// The versions of a request that are offered.
    pub(super) fn range(&self, key: ApiKey) -> Option<(i16, i16)> {
        self.ranges.get(&key.number()).copied()
    }

    /// `None` where the broker does not know the version of the question; it is then to be asked in version 0 (KIP-511).
    fn read(reader: &mut Reader, version: i16) -> Result<Option<Versions>, String> {
        let mut first = reader.clone();
        if version > 0 && first.i16().is_ok_and(|code| code == ErrorCode::UNSUPPORTED_VERSION.0) {
            return Ok(None);
        }
        let response = ApiVersionsResponse::read(reader, version).map_err(|error| error.to_string())?;
        response.error_code.ok().map_err(|code| format!("versions: {code}"))?;
        if let Some(offered) = response.api_keys.iter().find(|api| api.api_key == ApiKey::TxnOffsetCommit.number())
            && offered.max_version < GENERATIONS
        {
            return Err(format!(
                "the broker is older than Kafka 2.5: it offers {} up to version {}, and version {GENERATIONS} is needed; use the other lane",
                ApiKey::TxnOffsetCommit,
                offered.max_version
            ));
        }
        let transactions = response.finalized_features.iter().find(|feature| &*feature.name == "transaction.version");
        Ok(Some(Versions {
            ranges: response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect(),
            transactions: transactions.map_or(0, |feature| feature.max_version_level),
        }))
    }
}
