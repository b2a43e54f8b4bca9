//! Avro bytes: a compiled one-pass walker, slots, JSON rendering, compatibility. No I/O.
