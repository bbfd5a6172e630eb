//! What callers say and are told, in types that are within their bounds once built.

pub(crate) mod config;
pub(crate) mod epoch;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod id;
pub(crate) mod scope;
pub(crate) mod session;
pub(crate) mod state_key;
pub(crate) mod superseded;
pub(crate) mod timestamp;
pub(crate) mod token;
