//! Confluent-compatible schema registry for Avro on the compacted topic _schemas.
