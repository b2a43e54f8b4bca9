//! The process edge of the schema-registry: settings and logs; [`serve`] says how it ends.

use std::process::ExitCode;

use clap::Parser;
use schema_registry::{Args, Config};
use weir_telemetry::process::serve;

/// For Rust and for librdkafka alike; `.cargo/config.toml` has its settings. The system's keeps twice as much as is in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let settings = || -> anyhow::Result<Config> {
        weir_telemetry::init_logs(args.format()?, &args.log)?;
        Ok(Config::try_from(&args)?)
    };
    serve("schema-registry", settings(), schema_registry::run)
}
