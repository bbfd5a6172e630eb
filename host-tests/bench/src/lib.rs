//! Measures the component beside what a platform could use instead of it, and what a journal costs.
//!
//! The commands `bench`, `bench-target` and `measure` of the command line run it.
//!
//! | module | what is in it |
//! |---|---|
//! | [`bench`](mod@bench) | compares targets, each in a process of its own |
//! | [`target`] | the targets that are part of the command line |
//! | [`measure`] | the cost of a journal in a file, and the time to restore sessions |

pub mod bench;
pub mod measure;
pub mod target;
