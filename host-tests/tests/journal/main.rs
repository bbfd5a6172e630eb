//! The journals: one suite for all of them, and tests of each.

mod damage;
mod disk;
mod failures;
mod memory;
mod nats;
mod power;
mod redb;
mod suite;
