//! The coordinator alone, with partitions that are only remembered.

mod kafka;
mod model;
mod scenarios;
