//! The host of the world `session-sync`: plain functions, a guard that answers at once, and the
//! bounds of an instance.

mod cache;
mod calls;
mod events;
mod fixture;
mod records;
mod tasks;
