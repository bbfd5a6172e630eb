//! What the core needs from outside: the token authority, the time and random bytes.

pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod guard;
