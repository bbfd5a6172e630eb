//! The journal on NATS, on servers that are killed, paused and misconfigured.
//!
//! The servers are real processes. The tests wait for conditions with a deadline, and not for fixed
//! times.

mod cluster;
mod damage;
mod fencing;
mod fixture;
mod outage;
mod records;
mod rotation;
mod setup;
mod tls;
