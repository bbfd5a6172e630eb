//! The tokens that a session had before its current one, as far as they are remembered (R27).

use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;

/// How many of each session are remembered: enough to see the theft of a token that was stolen some
/// rotations ago, and not so many that rotating fills the memory.
pub const MAX_REMEMBERED: usize = 8;

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
pub enum ReplayVerdict {
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
    /// Until when the newest can be presented once more, if it can.
    grace: Option<Grace>,
}

/// Until when a token can be presented once more. While the host's clock is behind, the time inside
/// stands still, so the host's clock counts too (R6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// By the time inside.
    pub until: Timestamp,
    /// By the host's clock.
    pub until_by_host: Timestamp,
}

impl Grace {
    /// The grace of a rotation whose answer was lost with its instance: it has no end.
    pub const ENDLESS: Self = Self {
        until: Timestamp::MAX,
        until_by_host: Timestamp::MAX,
    };
}

/// A token that was superseded.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// What is kept of it.
    pub fingerprint: Fingerprint,
    /// The generation of the token that replaced it.
    pub replaced_by: u64,
    /// It was the host who replaced it.
    pub by_host: bool,
    /// The renewal that replaced it has not answered yet.
    pub unanswered: bool,
}

impl Superseded {
    /// Those of a session that comes back. A renewal that had not answered never will: its bearer has
    /// not heard of the new token, and can present the one before it once more, as in a grace that has
    /// no end.
    #[must_use]
    pub fn restored(mut tokens: Vec<Remembered>, grace: Option<Grace>) -> Self {
        let newest = tokens.last().filter(|token| !token.by_host);
        let lost_answer = newest.is_some_and(|token| token.unanswered);
        for token in &mut tokens {
            token.unanswered = false;
        }
        Self {
            tokens,
            grace: if lost_answer {
                Some(Grace::ENDLESS)
            } else {
                grace
            },
        }
    }

    /// The tokens, oldest first.
    #[must_use]
    pub fn tokens(&self) -> &[Remembered] {
        &self.tokens
    }

    /// Until when the newest can be presented once more, if it can.
    #[must_use]
    pub fn grace(&self) -> Option<Grace> {
        self.grace
    }

    /// What they count.
    #[must_use]
    pub fn size(&self) -> u64 {
        REMEMBERED_SIZE.saturating_mul(self.tokens.len() as u64)
    }

    /// Remembers a token that a renewal has replaced, and that has still to answer. Gives the one that
    /// is forgotten for it.
    pub fn remember(
        &mut self,
        fingerprint: Fingerprint,
        renewal: Renewal,
        replaced_by: u64,
        grace: Option<Grace>,
    ) -> Option<Fingerprint> {
        self.grace = grace.filter(|_| renewal == Renewal::Rotation);
        let forgotten = (self.tokens.len() >= MAX_REMEMBERED).then(|| self.tokens.remove(0));
        self.tokens.push(Remembered {
            fingerprint,
            replaced_by,
            by_host: renewal == Renewal::Refresh,
            unanswered: true,
        });
        forgotten.map(|token| token.fingerprint)
    }

    /// The renewal that gave the session its token of this generation answers no more.
    pub fn end_answer(&mut self, generation: u64) {
        for token in &mut self.tokens {
            token.unanswered &= token.replaced_by != generation;
        }
    }

    /// The newest can be presented once more until then, if it was rotated.
    pub fn begin_grace(&mut self, grace: Option<Grace>) {
        if self.grace.is_some() {
            self.grace = grace;
        }
    }

    /// What this token is worth, if it is one of them.
    #[must_use]
    pub fn worth(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<ReplayVerdict> {
        let mut newest_first = self.tokens.iter().rev().enumerate();
        let (place, token) = newest_first.find(|(_, token)| token.fingerprint == *fingerprint)?;
        let in_grace = self.grace.is_some_and(|grace| now < grace.until);
        Some(if token.unanswered {
            ReplayVerdict::Overtaken
        } else if place == 0 && in_grace {
            ReplayVerdict::Grace
        } else if token.by_host {
            ReplayVerdict::Nothing
        } else {
            ReplayVerdict::Theft
        })
    }
}
