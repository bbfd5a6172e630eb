//! What ending sessions returns.

use crate::domain::timestamp::Timestamp;
use crate::store::revocations::PendingKey;

/// How many revocations one call asks the guard for at most (R20). The others are left to a flush.
pub const MAX_REVOCATIONS: usize = 1_000;

/// What ended in one step: a session and all its descendants.
#[derive(Debug, Default)]
pub struct EndedTree {
    /// How many were live until then.
    pub live: usize,
    /// How many there were in all.
    pub all: u32,
    /// Until when one of them could be restored; none if nothing ended.
    pub latest_end: Option<Timestamp>,
    /// The pending revocation of the session's own token, if the token has not expired.
    pub own: Option<PendingKey>,
    /// The same for its descendants.
    pub below: Vec<PendingKey>,
}

impl EndedTree {
    /// Returns the pending revocations of all of them, the session's own first.
    pub fn revocations(self) -> impl Iterator<Item = PendingKey> {
        self.own.into_iter().chain(self.below)
    }
}

/// What a kill switch has ended.
#[derive(Debug, Default)]
pub struct Cleared {
    /// How many live sessions.
    pub live: usize,
    /// Their pending revocations, as far as the guard is to be asked for them.
    pub revocations: Vec<PendingKey>,
}

impl Cleared {
    /// Adds sessions that have ended.
    pub fn add(&mut self, ended: EndedTree) {
        self.live = self.live.saturating_add(ended.live);
        self.add_revocations(ended.revocations());
    }

    /// Adds what another kill switch has ended.
    pub fn merge(&mut self, other: Self) {
        self.live = self.live.saturating_add(other.live);
        self.add_revocations(other.revocations.into_iter());
    }

    fn add_revocations(&mut self, revocations: impl Iterator<Item = PendingKey>) {
        let left = MAX_REVOCATIONS.saturating_sub(self.revocations.len());
        self.revocations.extend(revocations.take(left));
    }
}
