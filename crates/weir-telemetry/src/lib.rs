//! Structured logs, metrics, and the health and metrics endpoint.
