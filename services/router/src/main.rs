//! The process edge of the router: settings, logs, signals, exit code: 0 drained, 64 wrong settings, 70 an error.

use clap::Parser;
use router::config::{Config, Raw};
use std::process::ExitCode;
use tokio::signal::{ctrl_c, unix};

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
    let config = match logs.and_then(|()| Config::try_from(raw).map_err(Into::into)) {
        Ok(config) => config,
        Err(e) => return wrong(&e),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() else {
        return wrong(&anyhow::anyhow!("cannot start threads; raise the limit of threads"));
    };
    let code = match runtime.block_on(router::run(config, signalled())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(error = %e, "the router stopped");
            ExitCode::from(70)
        }
    };
    // A client thread that hangs must not keep the process: everything that matters is committed by now.
    runtime.shutdown_background();
    code
}

#[allow(clippy::print_stderr, reason = "the log may not be set up yet")]
fn wrong(error: &anyhow::Error) -> ExitCode {
    eprintln!("router: {error:#}");
    ExitCode::from(64)
}

/// Resolves at the first SIGTERM or SIGINT; the second one ends the process at once.
async fn signalled() {
    stop_signal().await;
    tokio::spawn(async {
        stop_signal().await;
        std::process::exit(130);
    });
}

async fn stop_signal() {
    match unix::signal(unix::SignalKind::terminate()) {
        Ok(mut term) => tokio::select! { _ = term.recv() => {}, _ = ctrl_c() => {} },
        Err(_) => drop(ctrl_c().await),
    }
}
