//! The process edge: command line and environment, logs, signals, exit code. 64 means wrong settings (sysexits
//! EX_USAGE), 1 that the service could not start.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use schema_registry::{Args, Config};
use tokio::signal::unix::{SignalKind, signal};

const WRONG_SETTINGS: u8 = 64;

/// For Rust and for librdkafka alike; `.cargo/config.toml` has its settings. The system's keeps twice as much as is in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(WRONG_SETTINGS) };
        }
    };
    let settings = || -> anyhow::Result<Config> {
        weir_telemetry::init_logs(args.format()?, &args.log)?;
        Ok(Config::try_from(&args)?)
    };
    match settings() {
        Ok(config) => match serve(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
        Err(error) => fail(&error, WRONG_SETTINGS),
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(schema_registry::run(config, shutdown).await?)
}

#[expect(clippy::print_stderr, reason = "the user must see why, even if logs could not be set up")]
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("schema-registry: {error:#}");
    ExitCode::from(code)
}
