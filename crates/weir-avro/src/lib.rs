//! Avro bytes for Weir: schemas compile to a [`Walker`] that passes once over a payload, validates all of it
//! and leaves the wanted fields in [`Slot`]s that borrow from the payload.
//!
//! The crate does no I/O, knows no clock and no registry. `apache-avro` parses schemas; reading bytes,
//! writing bytes, JSON rendering and schema resolution checks are our own, because a broker-side check needs
//! the offset and path of every fault and must never allocate by a count that came over the wire.
//!
//! Source of the encoding: Apache Avro 1.12 specification, "Data Serialization and Deserialization".

pub mod compat;
mod cursor;
pub mod encode;
pub mod fault;
pub mod json;
mod parts;
pub mod read;
pub mod row;
pub mod schema;
pub mod slot;
mod text;
mod trusted;
pub mod walk;
pub mod write;

pub use compat::{Incompatibility, IncompatibilityKind, can_read};
pub use encode::{EncodeError, encode_default, encode_into, from_json, put_blob, put_long};
pub use fault::{Fault, FaultKind};
pub use json::{JsonForm, to_json};
pub use read::Limits;
pub use row::{row_to_json, text_to_json};
pub use schema::{Field, Kind, Logical, Node, NodeId, Schema, SchemaError};
pub use slot::{Entries, FieldPath, Items, Region, Slot, Utf8, recycle, same};
pub use walk::{Walker, WalkerError};
pub use write::SchemaWriter;
