//! The process edge: arguments and environment in, exit code out.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use weir::args::Weir;
use weir::{Exit, Failure};

/// For Rust and for librdkafka alike; `.cargo/config.toml` has its settings. The system's keeps twice as much as is in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let weir = match Weir::try_parse() {
        Ok(weir) => weir,
        Err(error) => {
            // Help and version are answers and go to stdout; clap knows which is which. A closed pipe is a quiet end.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match weir::run(weir) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !matches!(failure, Failure::Closed) {
                let _ = writeln!(std::io::stderr(), "error: {failure}");
            }
            failure.exit().into()
        }
    }
}
