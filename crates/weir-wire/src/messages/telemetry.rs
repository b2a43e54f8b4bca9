//! Metrics that clients push to the broker (KIP-714).

use crate::{ErrorCode, Text, Uuid};
use bytes::Bytes;

message! {
    /// Asks which metrics the client is to push.
    pub struct GetTelemetrySubscriptionsRequest: GetTelemetrySubscriptions 0..=0, flexible 0 {
        client_instance_id: Uuid,
    }

    /// The metrics, how often (ms), and how they may be compressed.
    pub struct GetTelemetrySubscriptionsResponse: GetTelemetrySubscriptions 0..=0, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        client_instance_id: Uuid,
        subscription_id: i32,
        accepted_compression_types: Vec<i8>,
        push_interval_ms: i32,
        telemetry_max_bytes: i32,
        delta_temporality: bool,
        requested_metrics: Vec<Text>,
    }

    /// Brings metrics in OpenTelemetry's protobuf, compressed perhaps.
    pub struct PushTelemetryRequest: PushTelemetry 0..=0, flexible 0 {
        client_instance_id: Uuid,
        subscription_id: i32,
        terminating: bool,
        compression_type: i8,
        metrics: Bytes,
    }

    /// Whether they were taken.
    pub struct PushTelemetryResponse: PushTelemetry 0..=0, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
    }
}
