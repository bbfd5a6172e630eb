//! Compares the component with other session managers and stores, and measures the cost of a
//! journal.
//!
//! A *target* is a program that is measured, usually a session manager. This crate implements the
//! commands `bench`, `bench-target` and `measure` of the command line.
//!
//! | module | contents |
//! |---|---|
//! | [`bench`](mod@bench) | runs and compares targets, each in a separate process |
//! | [`target`] | the targets that are part of the command line |
//! | [`measure`] | the cost of a journal in a file, and the time to restore sessions |

pub mod bench;
pub mod measure;
pub mod target;
