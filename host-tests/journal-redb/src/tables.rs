//! The tables of the file.

use redb::TableDefinition;

/// Tenant and key, to sequence, `forget-at` and value.
pub(super) const RECORDS: TableDefinition<&[u8], (u64, u64, &[u8])> =
    TableDefinition::new("records");
/// Tenant, `forget-at` and key.
pub(super) const DUE: TableDefinition<&[u8], ()> = TableDefinition::new("due");
/// Tenant, to the number of its last take-over and how many records it has.
pub(super) const OWNERS: TableDefinition<&[u8], (u64, u64)> = TableDefinition::new("owners");
