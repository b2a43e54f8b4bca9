//! Kafka's wire form: frames, requests, responses and record batches, for the embedded broker and the gateway.
//!
//! Nothing here does I/O or keeps state. Every length and count is compared with the bytes that are there before anything is
//! allocated, so that a frame of n bytes never costs more than a small multiple of n.

pub mod batch;
pub mod codec;
