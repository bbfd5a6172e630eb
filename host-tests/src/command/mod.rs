//! The parts of the command line.

pub mod bench;
pub mod contestant;
pub mod guard;
pub mod rate;
pub mod recovery;
pub mod rekey;
pub mod secrets;
pub mod serve;
pub mod storage;
pub mod tour;
