//! Ctrl-C, SIGTERM and SIGHUP as a flag that a command looks at between two steps, so that it ends with its work in order.
//!
//! The second signal ends the process at once, for who does not want to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;

/// What a shell reports for a process that Ctrl-C ended.
const KILLED_BY_INTERRUPT: i32 = 130;

/// Whether somebody asked the command to end.
#[derive(Debug, Clone)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens from now on, on a thread of its own.
    ///
    /// # Errors
    /// [`Failure::Other`] when the system gives no thread or no signal handler.
    pub fn listen() -> Result<Interrupt, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let (mut interrupt, mut terminate, mut hangup) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt()).context("no signals")?,
                signal(SignalKind::terminate()).context("no signals")?,
                signal(SignalKind::hangup()).context("no signals")?,
            )
        };
        let flag = asked.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        tokio::select! {
                            _ = interrupt.recv() => {}
                            _ = terminate.recv() => {}
                            _ = hangup.recv() => {}
                        }
                        if flag.swap(true, Ordering::SeqCst) {
                            std::process::exit(KILLED_BY_INTERRUPT);
                        }
                    }
                });
            })
            .context("no thread for signals")?;
        Ok(Interrupt { asked })
    }

    /// Whether it was asked for.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}
