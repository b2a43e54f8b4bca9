//! The rdkafka lane of the pump, readers, writers, admin. The only crate that names rdkafka.
