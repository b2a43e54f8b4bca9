//! Connections: one task each, requests in order, answers in order.
//!
//! A connection holds next to nothing while it is idle. Its buffer grows with the bytes that came, never by what a length claims, and
//! beyond a small share only out of the common budget. A request that has begun must arrive in time, an answer must be read in time;
//! when memory is short, sooner. What a request means is not known here.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use weir_wire::{WireError, split_frame};

use crate::budget::Grant;
use crate::handlers;
use crate::node::Node;

/// The least that a read makes room for.
const CHUNK: usize = 8 << 10;
/// How long a client may pause before its buffer is given back.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a transfer is held against the rate that is asked of it when memory is short.
const TICK: Duration = Duration::from_secs(1);
/// That rate, in bytes per second.
const RATE: u64 = 256 << 10;
/// How long connections have to end their requests when the broker stops.
const GRACE: Duration = Duration::from_secs(5);
/// Pieces of one vectored write.
const PIECES: usize = 64;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Where the client is.
    pub(crate) address: SocketAddr,
    /// Where it came to.
    pub(crate) local: SocketAddr,
}

/// What goes back for a request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The frame, its length included; none where the request asked for no answer.
    pub(crate) pieces: Vec<Bytes>,
    /// The memory that the pieces take, held until they are sent.
    pub(crate) memory: Option<Grant>,
    /// How long the client has to wait after it.
    pub(crate) throttle: Duration,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("the client ended it")]
    End,
    #[error("it was idle")]
    Idle,
    #[error("the broker stops")]
    Stopping,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client ended it within a request")]
    Cut,
    #[error("a request of {0} bytes so far did not arrive in time")]
    SlowRequest(usize),
    #[error("an answer of {0} bytes was not read in time")]
    SlowAnswer(usize),
    #[error("bytes that are no request: {0}")]
    Malformed(#[from] WireError),
    #[error("an answer that its version cannot carry: {0}")]
    Answer(WireError),
    #[error("{0}")]
    Refused(String),
}

/// Serves connections until the broker stops.
pub(crate) async fn accept(listener: TcpListener, node: Arc<Node>) {
    let mut connections = JoinSet::new();
    let mut stopping = node.stopping();
    let mut refused = 0_u64;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() >= node.connection_limit() => {
                drop(stream);
                refused += 1;
                if refused.is_power_of_two() {
                    tracing::warn!(limit = connections.len(), refused, "too many connections, new ones are closed");
                }
            }
            Ok((stream, address)) => {
                let node = Arc::clone(&node);
                connections.spawn(async move {
                    if let Err(closed) = serve(stream, address, node).await {
                        report(address, &closed);
                    }
                });
            }
            Err(error) => {
                // Most often there are no file handles left; another try at once would fail as well.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let ended = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections whose requests did not end");
        connections.shutdown().await;
    }
}

fn report(address: SocketAddr, closed: &Closed) {
    match closed {
        Closed::End | Closed::Idle | Closed::Stopping | Closed::Cut | Closed::Io(_) => {
            tracing::debug!(%address, reason = %closed, "connection closed");
        }
        _ => tracing::warn!(%address, reason = %closed, "connection closed"),
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, node: Arc<Node>) -> Result<(), Closed> {
    stream.set_nodelay(true)?;
    let peer = Peer { address, local: stream.local_addr()? };
    let memory = node.request_memory().grant();
    let mut connection = Connection { stream, peer, node, buffer: BytesMut::new(), memory, ended: false };
    loop {
        let frame = connection.request().await?;
        let Answer { pieces, memory, throttle } = connection.handle(frame).await?;
        connection.send(pieces).await?;
        drop(memory);
        if !throttle.is_zero() {
            connection.pause(throttle).await?;
        }
    }
}

struct Connection {
    stream: TcpStream,
    peer: Peer,
    node: Arc<Node>,
    buffer: BytesMut,
    /// What the buffer takes from the common budget.
    memory: Grant,
    /// Whether the client will send no more.
    ended: bool,
}

impl Connection {
    /// Waits for the next request.
    async fn request(&mut self) -> Result<Bytes, Closed> {
        let limit = self.node.config().limits.request;
        let mut begun = None;
        loop {
            if let Some(frame) = split_frame(&mut self.buffer, limit)? {
                return Ok(frame);
            }
            if self.buffer.is_empty() {
                self.idle().await?;
            }
            let begun = begun.get_or_insert_with(Instant::now);
            *begun += self.make_room().await;
            self.fill(*begun).await?;
        }
    }

    /// Waits for the first byte of a request.
    async fn idle(&mut self) -> Result<(), Closed> {
        if self.ended {
            return Err(Closed::End);
        }
        let mut stopping = self.node.stopping();
        if *stopping.borrow() {
            return Err(Closed::Stopping);
        }
        let Connection { stream, buffer, memory, node, .. } = self;
        let wait = async {
            if memory.size() > 0 && node.request_memory().is_pressed()
                || timeout(PAUSE, stream.readable()).await.is_err()
            {
                *buffer = BytesMut::new();
                memory.shrink(0);
            }
            timeout(node.config().limits.idle, stream.readable()).await
        };
        tokio::select! {
            biased;
            readable = wait => readable.map_err(|_| Closed::Idle)?.map_err(Closed::Io),
            _ = stopping.wait_for(|stopping| *stopping) => Err(Closed::Stopping),
        }
    }

    /// Makes room for more bytes of a request, as many as there are already; says how long it had to wait for memory.
    async fn make_room(&mut self) -> Duration {
        let there = self.buffer.len();
        let lacking = match self.buffer.first_chunk::<4>() {
            Some(length) => {
                usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0).saturating_add(4).saturating_sub(there)
            }
            None => CHUNK,
        };
        let room = there.clamp(CHUNK, lacking.max(CHUNK));
        let beyond = (there + room).saturating_sub(self.node.config().limits.request_share);
        let mut waited = Duration::ZERO;
        if beyond > self.memory.size() {
            let start = Instant::now();
            self.memory.grow(beyond, there + lacking).await;
            waited = start.elapsed();
        }
        self.buffer.reserve(room);
        waited
    }

    /// Reads some bytes of a request that began then.
    async fn fill(&mut self, begun: Instant) -> Result<(), Closed> {
        let deadline = begun + self.node.config().limits.transfer;
        loop {
            let tick = deadline.min(Instant::now() + TICK);
            match timeout_at(tick, self.stream.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) if self.buffer.is_empty() => return Err(Closed::End),
                Ok(Ok(0)) => return Err(Closed::Cut),
                Ok(Ok(_)) if self.node.request_memory().is_pressed() && is_slow(begun, self.buffer.len()) => {
                    return Err(Closed::SlowRequest(self.buffer.len()));
                }
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(error.into()),
                // Nothing came for a while. When memory is short, it is needed for others.
                Err(_) if Instant::now() >= deadline || self.node.request_memory().is_pressed() => {
                    return Err(Closed::SlowRequest(self.buffer.len()));
                }
                Err(_) => {}
            }
        }
    }

    /// Has a request handled, and sees meanwhile whether the client goes away.
    async fn handle(&mut self, frame: Bytes) -> Result<Answer, Closed> {
        let Connection { stream, peer, node, buffer, ended, .. } = self;
        let share = node.config().limits.request_share;
        let mut handling = pin!(handlers::dispatch(node, peer, frame));
        loop {
            let ahead = !*ended && buffer.len() < share;
            tokio::select! {
                biased;
                answer = &mut handling => return answer,
                readable = stream.readable(), if ahead => readable?,
            }
            buffer.reserve(512);
            match stream.try_read_buf(buffer) {
                // What waits for its answer no longer has anybody to answer to; what came behind it is still done.
                Ok(0) => {
                    *ended = true;
                    return Ok(Answer::default());
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends an answer.
    async fn send(&mut self, mut pieces: Vec<Bytes>) -> Result<(), Closed> {
        let size: usize = pieces.iter().map(Bytes::len).sum();
        if size == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        let deadline = begun + self.node.config().limits.transfer + Duration::from_secs(size as u64 / RATE);
        let (mut first, mut sent) = (0, 0);
        while sent < size {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let rest = &pieces[first..];
            let count = rest.len().min(PIECES);
            for (slice, piece) in slices.iter_mut().zip(rest) {
                *slice = IoSlice::new(piece);
            }
            let tick = deadline.min(Instant::now() + TICK);
            let mut wrote = match timeout_at(tick, self.stream.write_vectored(&slices[..count])).await {
                Ok(Ok(0)) => return Err(Closed::End),
                Ok(wrote) => wrote?,
                Err(_) if Instant::now() >= deadline || self.node.response_memory().is_pressed() => {
                    return Err(Closed::SlowAnswer(size));
                }
                Err(_) => 0,
            };
            sent += wrote;
            if self.node.response_memory().is_pressed() && is_slow(begun, sent) {
                return Err(Closed::SlowAnswer(size));
            }
            while wrote > 0 {
                let step = wrote.min(pieces[first].len());
                pieces[first].advance(step);
                wrote -= step;
                if pieces[first].is_empty() {
                    first += 1;
                }
            }
        }
        Ok(())
    }

    /// Does not listen to a client that was told to wait (KIP-219).
    async fn pause(&mut self, throttle: Duration) -> Result<(), Closed> {
        let mut stopping = self.node.stopping();
        tokio::select! {
            () = tokio::time::sleep(throttle) => Ok(()),
            _ = stopping.wait_for(|stopping| *stopping) => Err(Closed::Stopping),
        }
    }
}

/// Whether a transfer is too slow for a time in which memory is short.
fn is_slow(begun: Instant, bytes: usize) -> bool {
    let elapsed = begun.elapsed();
    elapsed >= TICK && (bytes as u64) < elapsed.as_secs() * RATE
}
