//! The commands and their arguments.

pub mod core_dumps;
pub mod guard;
pub mod log;
pub mod package;
pub mod rekey;
pub mod secrets;
pub mod serve;
pub mod storage;
pub mod tour;
pub mod world;
