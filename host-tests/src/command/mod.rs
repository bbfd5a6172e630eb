//! The parts of the command line that are more than a few lines.

pub mod journals;
pub mod secrets;
pub mod serve;
