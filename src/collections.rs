//! Collections that grow without copying all their entries (R20).

pub(crate) mod list;
pub(crate) mod ordered;
pub(crate) mod slab;
pub(crate) mod slot;
pub(crate) mod table;
