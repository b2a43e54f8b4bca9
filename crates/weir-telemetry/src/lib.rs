//! What a running service tells about itself: structured logs on stderr, metrics in the OpenMetrics text format, and whether it is alive and ready.
//!
//! Every service serves the same three routes through [`Server`] and may add its own. No payload value belongs in a log, a label or a
//! reason; this crate never sees one. It reads no environment: formats, levels and addresses are settings of the service.

mod health;
mod logs;
mod metrics;
pub mod process;
mod server;

pub use health::Health;
pub use logs::{LogError, LogFormat, init_logs};
pub use metrics::{Metric, Metrics, Samples};
pub use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
pub use server::{Server, ServerError};
