//! The HTTP endpoint of a service: metrics, health and whatever routes the service adds.

use crate::{Health, Metrics};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for an answer under way, short enough not to hold up the end of the service for a client that does not read.
const GRACE: Duration = Duration::from_secs(2);
/// The media type of the OpenMetrics specification 1.0, which Prometheus asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; set {setting} to an address of this machine with a free port")]
pub struct ServerError {
    address: SocketAddr,
    setting: String,
    source: io::Error,
}

/// A running endpoint:
///
/// * `GET /metrics`: the metrics in the OpenMetrics text format.
/// * `GET /health/live`: 200 while the process runs.
/// * `GET /health/ready`: 200 when the service is ready, else 503; both as `{"ready": false, "reasons": {"registry": "..."}}`.
///
/// Dropping it leaves the endpoint open until the runtime ends; [`Server::stop`] closes it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Opens the endpoint on `address`; port 0 takes a free one. `setting` is the name under which a user gave the address, for the error;
    /// `routes` are the service's own.
    ///
    /// # Panics
    /// When `routes` has one of the three routes too, and outside a tokio runtime.
    pub async fn start(
        setting: &str,
        address: SocketAddr,
        health: Health,
        metrics: Metrics,
        routes: Router,
    ) -> Result<Server, ServerError> {
        let failed = |source| ServerError { address, setting: setting.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let app = Router::new()
            .route("/metrics", get(show_metrics))
            .with_state(Arc::new(metrics))
            .route("/health/live", get(|| async { Json(json!({ "live": true })) }))
            .route("/health/ready", get(move || async move { show_health(&health) }))
            .merge(routes);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let asked = async {
                if stopped.await.is_err() {
                    // The handle was dropped: serve until the runtime ends.
                    std::future::pending::<()>().await;
                }
            };
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(asked).await {
                tracing::error!(%error, "the http endpoint failed");
            }
        });
        Ok(Server { address, stop, task })
    }

    /// Where it listens; the port is the real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connection, finishes the answers under way for at most two seconds, and closes.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn show_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(page) => ([(header::CONTENT_TYPE, OPENMETRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn show_health(health: &Health) -> Response {
    let reasons = health.reasons();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "reasons": reasons }))).into_response()
}
