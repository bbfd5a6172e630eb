//! The results of ending sessions.

use crate::store::revocations::PendingKey;

/// The maximum number of revocations that one call asks the guard for (R20). The others are left to
/// a flush.
pub const MAX_REVOCATIONS: usize = 1_000;

/// A session and all its descendants, which ended in one step.
#[derive(Debug, Default)]
pub struct EndedTree {
    /// How many of them were live before the step.
    pub live: usize,
    /// How many they are.
    pub all: u32,
    /// The pending revocation of the session's own token, if the token has not expired.
    pub own: Option<PendingKey>,
    /// The pending revocations of the descendants' tokens.
    pub below: Vec<PendingKey>,
}

impl EndedTree {
    /// Returns all pending revocations, that of the session's own token first.
    pub fn revocations(self) -> impl Iterator<Item = PendingKey> {
        self.own.into_iter().chain(self.below)
    }
}

/// The sessions that a kill switch has ended.
#[derive(Debug, Default)]
pub struct Cleared {
    /// How many live sessions ended.
    pub live: usize,
    /// Their pending revocations, at most [`MAX_REVOCATIONS`].
    pub revocations: Vec<PendingKey>,
}

impl Cleared {
    /// Adds sessions that have ended.
    pub fn add(&mut self, ended: EndedTree) {
        self.live = self.live.saturating_add(ended.live);
        let left = MAX_REVOCATIONS.saturating_sub(self.revocations.len());
        self.revocations.extend(ended.revocations().take(left));
    }
}
