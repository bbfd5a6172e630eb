//! The journals: one suite for all of them, and what is particular to each.

mod damage;
mod disk;
mod memory;
mod nats;
#[path = "../support/nats_server.rs"]
mod nats_server;
mod redb;
mod suite;
