//! The enforcer as its users meet it: the binary, a real Apache Kafka, the real schema registry, an independent
//! reader. Every test skips, and says so, where Kafka's jars or Java are missing.

mod faults;
mod reload;
mod verdicts;
mod world;
