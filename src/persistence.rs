//! The state as records: the feed of changes, the JSON of each record, and its seal (R23, R24).

pub(crate) mod change_feed;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod hex;
pub(crate) mod json;
pub(crate) mod record;
pub(crate) mod record_keys;
pub(crate) mod seal;
