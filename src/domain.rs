//! The values of the core: sessions, ids, scopes, tokens, limits, events and errors. A value that
//! has been built is within its bounds.

pub(crate) mod config;
pub(crate) mod epoch;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod id;
pub(crate) mod json;
pub(crate) mod mac;
pub(crate) mod scope;
pub(crate) mod session;
pub(crate) mod state_key;
pub(crate) mod superseded;
pub(crate) mod text;
pub(crate) mod timestamp;
pub(crate) mod token;
