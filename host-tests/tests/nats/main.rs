//! The journal on NATS, on servers that are killed, stopped and set up wrongly.
//!
//! They are real, so the tests wait for what they do, with a deadline, and never for a time to pass.

mod cluster;
mod damage;
mod fencing;
mod fixture;
mod outage;
mod records;
mod rotation;
mod setup;
