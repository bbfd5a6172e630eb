//! The parts of the command line.

pub mod recovery;
pub mod secrets;
pub mod storage;
pub mod tour;
