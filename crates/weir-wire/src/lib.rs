//! Kafka's wire form: frames, requests, responses and record batches, for the embedded broker, the pump and the gateway.
//!
//! Nothing here does I/O or keeps state. Every length and count is compared with the bytes that are there before anything is
//! allocated, so that a frame of n bytes never costs more than a small multiple of n.

pub mod api;
pub mod batch;
pub mod build;
pub mod codec;
pub mod control;
mod error;
mod error_code;
pub mod field;
mod frame;
pub mod header;
#[macro_use]
mod message;
pub mod messages;
mod reader;
pub mod records;
#[cfg(test)]
mod sample;
pub mod stamp;
mod text;
mod uuid;
pub mod versioned;
mod writer;

pub use api::ApiKey;
pub use error::{Fault, WireError};
pub use error_code::ErrorCode;
pub use frame::split_frame;
pub use header::{RequestHeader, read_request_header, request_frame, response_frame, response_header_version};
pub use message::Message;
pub use reader::Reader;
pub use text::Text;
pub use uuid::{Uuid, UuidError};
pub use writer::Writer;
