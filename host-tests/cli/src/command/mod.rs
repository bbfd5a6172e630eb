//! The parts of the command line.

pub mod guard;
pub mod rekey;
pub mod secrets;
pub mod serve;
pub mod storage;
pub mod tour;
