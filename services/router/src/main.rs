//! The process edge of the router: settings and logs; [`serve`] says how it ends.

use clap::Parser;
use router::config::{Config, Raw};
use std::process::ExitCode;
use weir_telemetry::process::serve;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let raw = match Raw::try_parse() {
        Ok(raw) => raw,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let logs = raw.log_format.parse().map_err(anyhow::Error::msg);
    let logs = logs.and_then(|format| weir_telemetry::init_logs(format, &raw.log).map_err(Into::into));
    serve("router", logs.and_then(|()| Config::try_from(raw).map_err(Into::into)), router::run)
}
