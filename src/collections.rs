//! Collections that grow without copying what they hold (R20).

pub(crate) mod list;
pub(crate) mod ordered;
pub(crate) mod slab;
pub(crate) mod slot;
pub(crate) mod table;
