//! The invariants of the feed: its order and its indexes have the records and nothing else.

use crate::checks::{Checked, ensure, equal};
use crate::collections::slot::Slot;
use crate::collections::table::{Table, number_key};
use crate::persistence::change_feed::{Feed, FeedEntry, FeedSlot, MAX_ACCEPTANCES, RecordKind};

impl<S, P> Feed<S, P> {
    /// Returns the records and their slots.
    pub fn iter(&self) -> impl Iterator<Item = (FeedSlot, &FeedEntry<S, P>)> {
        self.entries.iter()
    }

    /// Checks the order and the indexes.
    ///
    /// # Errors
    /// The text of the first violation.
    pub fn check(&self) -> Checked {
        self.entries.check()?;
        self.order.check()?;
        equal("records in the order", self.order.len(), self.entries.len())?;
        for (changed, slot) in self.order.iter() {
            let entry = self.entries.get(slot);
            let entry = entry.ok_or("a record in the order does not exist")?;
            equal("last change of a record", entry.changed, changed)?;
            ensure(changed <= self.last, || {
                "a record changed after the last change".into()
            })?;
        }
        self.by_needed_until.check()?;
        let ended = self
            .iter()
            .filter_map(|(slot, it)| Some((it.kind.needed_until()?, slot)));
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable();
        ensure(self.by_needed_until.iter().eq(ended), || {
            "the records of ended subjects are not those in their order".into()
        })?;
        self.check_table("tombstones", &self.tombstones, |kind| match kind {
            RecordKind::Tombstone(tombstone) => Some(tombstone.id.key()),
            _ => None,
        })?;
        self.check_table("cut-offs", &self.cutoffs, |kind| match kind {
            RecordKind::Cutoff(cutoff) => Some(number_key(cutoff.epoch.get())),
            _ => None,
        })?;
        self.check_table("revocations", &self.revocations, |kind| match kind {
            RecordKind::Revocation(number, _) | RecordKind::Revoked(number) => {
                Some(number_key(*number))
            }
            _ => None,
        })?;
        let meta = self
            .iter()
            .filter(|(_, it)| matches!(it.kind, RecordKind::Meta));
        let meta: Vec<FeedSlot> = meta.map(|(slot, _)| slot).collect();
        equal("meta records", meta, Vec::from_iter(self.meta))?;
        ensure(self.acceptances.len() <= MAX_ACCEPTANCES, || {
            "too many acceptances".into()
        })
    }

    /// Checks that a table has each record for which `key` returns a key, and nothing else.
    fn check_table(
        &self,
        name: &str,
        table: &Table<FeedSlot>,
        key: impl Fn(&RecordKind<S, P>) -> Option<u64>,
    ) -> Checked {
        table.check()?;
        let mut records: usize = 0;
        for (slot, entry) in self.iter() {
            if let Some(key) = key(&entry.kind) {
                let found = table.get(key).map(Slot::index);
                equal(name, found, Some(slot.index()))?;
                records = records.saturating_add(1);
            }
        }
        equal(name, table.iter().count(), records)
    }
}
