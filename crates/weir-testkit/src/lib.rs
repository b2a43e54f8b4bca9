//! Generators, oracle, Apache Kafka harness, tidy test. Dev-dependency only.
