//! Measures the component beside what a platform could use instead of it, and what a journal costs.
//!
//! The commands `bench`, `contestant` and `measure` of the command line run it.
//!
//! | module | what is in it |
//! |---|---|
//! | [`bench`](mod@bench) | measures contestants beside each other, each in a process of its own |
//! | [`target`] | the contestants that are part of the command line |
//! | [`measure`] | what a journal in a file costs, and how long sessions take to be there again |

pub mod bench;
pub mod measure;
pub mod target;
