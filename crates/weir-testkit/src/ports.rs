//! Free ports of 127.0.0.1 for servers that a test starts, stops and starts again on the same port.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Linux gives outgoing connections ports from 32768 on. Below that no client can take the port of a server that is down for a
/// moment, nor connect to itself while it tries to reach it.
const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;

/// A port of 127.0.0.1 on which nothing listens. One process never gets the same port twice.
///
/// # Panics
/// When all the ports between 15000 and 30000 are taken.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries that run at the same time look in different places first.
    let start = std::process::id().wrapping_mul(977) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((start + step) % u32::from(COUNT)).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port of 127.0.0.1 between {FIRST} and {}", FIRST + COUNT);
}
