//! The journals: one suite for all of them, and what is particular to each.

mod redb;
mod suite;
