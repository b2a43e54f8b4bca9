//! The edge of a service's process: how it ends, and with which exit code.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use tokio::signal::{ctrl_c, unix};

/// Resolves when the process is asked to end.
pub type Asked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a service until the first SIGTERM or SIGINT, of which the service learns by its second argument and drains; the
/// second one ends the process at once. Exit codes (sysexits): 0 drained, 64 wrong settings, 70 an error.
pub fn serve<C, E, F>(name: &str, config: Result<C, impl Display>, service: impl FnOnce(C, Asked) -> F) -> ExitCode
where
    E: Display,
    F: Future<Output = Result<(), E>>,
{
    let config = match config {
        Ok(config) => config,
        Err(error) => return wrong(name, &error),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() else {
        return wrong(name, &"cannot start threads; raise the limit of threads");
    };
    let code = match runtime.block_on(service(config, Box::pin(asked()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "{name} stopped");
            ExitCode::from(70)
        }
    };
    // A client thread that hangs must not keep the process: everything that matters is committed by now.
    runtime.shutdown_background();
    code
}

#[allow(clippy::print_stderr, reason = "the log may not be set up yet")]
fn wrong(name: &str, error: &dyn Display) -> ExitCode {
    eprintln!("{name}: {error:#}");
    ExitCode::from(64)
}

async fn asked() {
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
