//! The journals: one suite for all of them, and what is particular to each.

mod damage;
mod disk;
mod memory;
mod nats;
mod redb;
mod suite;
