//! The ports: traits that the host implements, for tokens (the guard), the time and random bytes.

pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod guard;
