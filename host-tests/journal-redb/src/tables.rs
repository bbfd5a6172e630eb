//! The tables of the file.

use redb::TableDefinition;

/// The records: tenant and key, to sequence number, `forget-at` and value.
pub(super) const RECORDS: TableDefinition<&[u8], (u64, u64, &[u8])> =
    TableDefinition::new("records");
/// The records that expire, in that order: tenant, `forget-at` and key.
pub(super) const DUE: TableDefinition<&[u8], ()> = TableDefinition::new("due");
/// The tenants: tenant, to its fencing token (the number of take-overs) and the number of its
/// records.
pub(super) const OWNERS: TableDefinition<&[u8], (u64, u64)> = TableDefinition::new("owners");
