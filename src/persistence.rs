//! The state as records (R23, R24): which have changed, what each says, and its seal.

pub(crate) mod change_feed;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod hex;
pub(crate) mod json;
pub(crate) mod record;
pub(crate) mod record_keys;
pub(crate) mod seal;
