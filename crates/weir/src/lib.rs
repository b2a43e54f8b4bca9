//! The command line `weir` and the one-process mesh. It joins the services; no service knows of it.
//!
//! Each command is a module with one `run`. Data goes to stdout, everything else to stderr, so that every command
//! can stand in a pipe. Exit codes: 0 done, 1 the answer is no (lint errors, events that break their contract,
//! records that failed), 3 the cluster differs from what was asked, 64 wrong usage, 69 a service cannot be reached,
//! 70 anything else.

pub mod args;
pub mod mesh;
pub mod retail;

mod apply;
mod check;
mod company;
mod completions;
mod consume;
mod contracts;
mod decode;
mod encode;
mod events;
mod exit;
mod explain;
mod interrupt;
mod kafka;
mod lint;
mod output;
mod produce;
mod published;
mod quarantine;
mod registry;
mod up;
mod view;
mod views;

pub use exit::{Exit, Failure};

use args::{Command, Weir};
use weir_telemetry::{LogFormat, init_logs};

/// Runs one command to its end.
///
/// # Errors
/// [`Failure`] when it could not do what it was asked; its text says why and what to do.
pub fn run(weir: Weir) -> Result<Exit, Failure> {
    let log = weir.log.as_deref().unwrap_or(match &weir.command {
        // The live table says what the services wait for; a log line would tear it.
        Command::Up(arguments) if !arguments.headless => "warn,weir_kafka=error,weir_telemetry=error",
        _ => "warn",
    });
    init_logs(LogFormat::Text, log).map_err(|error| Failure::Usage(format!("--log: {error}")))?;
    match &weir.command {
        Command::Lint(arguments) => lint::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Apply(arguments) => apply::run(arguments),
        Command::Produce(arguments) => produce::run(arguments),
        Command::Consume(arguments) => consume::run(arguments),
        Command::Quarantine(arguments) => quarantine::run(arguments),
        Command::View(arguments) => view::run(arguments),
        Command::Up(arguments) => up::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
    }
}
