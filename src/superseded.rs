//! The tokens that a session had before its current one, as far as they are remembered (R27).

use crate::clock::Timestamp;
use crate::token::Fingerprint;

/// How many of each session are remembered: enough to see the theft of a token that was stolen some
/// rotations ago, and not so many that rotating fills the memory.
const MAX_REMEMBERED: usize = 8;

/// What one of them counts; see `max-state-bytes` in the WIT.
pub const REMEMBERED_SIZE: u64 = 128;

/// How a token was superseded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// By the host's `refresh`.
    Refresh,
    /// By the bearer who held it.
    Rotation,
    /// By a bearer who presented the token before it once more.
    Retry,
}

/// What a superseded token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It can be presented for rotation once more.
    Grace,
    /// Presenting it for rotation is theft.
    Theft,
    /// It is of no use.
    Nothing,
    /// It is of no use, and was current until a renewal that has not answered yet: whoever presents it
    /// cannot know.
    Overtaken,
}

/// The superseded tokens of a session, oldest first.
#[derive(Debug, Default)]
pub struct Superseded {
    tokens: Vec<Remembered>,
    /// Until when the newest can be presented once more.
    grace_until: Option<Timestamp>,
}

#[derive(Debug)]
struct Remembered {
    fingerprint: Fingerprint,
    by_host: bool,
}

impl Superseded {
    /// What they count.
    #[must_use]
    pub fn size(&self) -> u64 {
        REMEMBERED_SIZE.saturating_mul(self.tokens.len() as u64)
    }

    /// Remembers a token that was superseded. Gives the one that is forgotten for it.
    pub fn remember(
        &mut self,
        fingerprint: Fingerprint,
        renewal: Renewal,
        grace_until: Timestamp,
    ) -> Option<Fingerprint> {
        self.grace_until = (renewal == Renewal::Rotation).then_some(grace_until);
        let forgotten = (self.tokens.len() >= MAX_REMEMBERED).then(|| self.tokens.remove(0));
        self.tokens.push(Remembered {
            fingerprint,
            by_host: renewal == Renewal::Refresh,
        });
        forgotten.map(|token| token.fingerprint)
    }

    /// The newest can be presented once more until then, if it was rotated.
    pub fn begin_grace(&mut self, until: Timestamp) {
        if self.grace_until.is_some() {
            self.grace_until = Some(until);
        }
    }

    /// What this token is worth, if it is one of them. `unanswered`: the renewal that replaced the
    /// newest has not answered yet.
    #[must_use]
    pub fn worth(
        &self,
        fingerprint: &Fingerprint,
        unanswered: bool,
        now: Timestamp,
    ) -> Option<Worth> {
        let place = self
            .tokens
            .iter()
            .position(|token| token.fingerprint == *fingerprint)?;
        let is_newest = place.saturating_add(1) == self.tokens.len();
        let in_grace = self.grace_until.is_some_and(|until| now < until);
        Some(if is_newest && unanswered {
            Worth::Overtaken
        } else if is_newest && in_grace {
            Worth::Grace
        } else if self.tokens.get(place).is_some_and(|token| token.by_host) {
            Worth::Nothing
        } else {
            Worth::Theft
        })
    }

    /// The fingerprints.
    pub fn fingerprints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.tokens.iter().map(|token| &token.fingerprint)
    }
}
