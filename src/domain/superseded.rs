//! The superseded tokens of a session: the last 8 that it had before its current one (R27).

use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;

/// How many superseded tokens of each session are kept: enough to detect the reuse of a token that
/// was stolen some rotations ago, and few enough that rotations do not fill the memory.
pub const MAX_SUPERSEDED: usize = 8;

/// The bytes that a superseded token counts; see `max-state-bytes` in the WIT.
pub const SUPERSEDED_TOKEN_SIZE: u64 = 128;

/// How a token is superseded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// By the host's `refresh`.
    Refresh,
    /// By its bearer's `rotate`.
    Rotation,
    /// By a `rotate` with the token before it, within the grace.
    Retry,
}

/// How `rotate` treats a superseded token that is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayVerdict {
    /// A rotation with it succeeds.
    WithinGrace,
    /// A rotation with it ends the session, because two parties hold copies of the token.
    ReuseDetected,
    /// It is refused, because a `refresh` superseded it.
    Refused,
    /// It is refused. The renewal that superseded it is still in flight, so its bearer cannot know
    /// yet that it is superseded.
    RotationInFlight,
}

/// The superseded tokens of a session, oldest first.
#[derive(Debug, Default)]
pub struct Superseded {
    tokens: Vec<SupersededToken>,
    /// The grace of the newest token, if it has one.
    grace: Option<GraceWindow>,
}

/// The time until which a superseded token can be rotated again. While the host's clock is behind
/// the time inside, the time inside does not advance, so the host's clock is compared too (R6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraceWindow {
    /// The end by the time inside.
    pub until: Timestamp,
    /// The end by the host's clock.
    pub until_by_host: Timestamp,
}

impl GraceWindow {
    /// The grace after a rotation whose reply was lost with its instance. It never ends.
    pub const ENDLESS: Self = Self {
        until: Timestamp::MAX,
        until_by_host: Timestamp::MAX,
    };
}

/// A superseded token.
#[derive(Clone, Debug)]
pub struct SupersededToken {
    /// The token's fingerprint.
    pub fingerprint: Fingerprint,
    /// The generation of the token that replaced it.
    pub replaced_by: u64,
    /// Whether the host's `refresh` replaced it.
    pub by_host: bool,
    /// Whether the renewal that replaced it is still in flight.
    pub in_flight: bool,
}

impl Superseded {
    /// Returns the superseded tokens of a restored session. If its last rotation was in flight, the
    /// reply is lost and the bearer does not know the new token. So the token before it can be
    /// rotated again, in a grace that never ends.
    #[must_use]
    pub fn restored(mut tokens: Vec<SupersededToken>, grace: Option<GraceWindow>) -> Self {
        let newest = tokens.last().filter(|token| !token.by_host);
        let lost_reply = newest.is_some_and(|token| token.in_flight);
        for token in &mut tokens {
            token.in_flight = false;
        }
        Self {
            tokens,
            grace: if lost_reply {
                Some(GraceWindow::ENDLESS)
            } else {
                grace
            },
        }
    }

    /// Returns the tokens, oldest first.
    #[must_use]
    pub fn tokens(&self) -> &[SupersededToken] {
        &self.tokens
    }

    /// Returns the grace of the newest token, if it has one.
    #[must_use]
    pub fn grace(&self) -> Option<GraceWindow> {
        self.grace
    }

    /// Returns how many bytes the tokens count.
    #[must_use]
    pub fn size(&self) -> u64 {
        Self::size_of(self.tokens.len())
    }

    /// Returns how many bytes this many superseded tokens count.
    #[must_use]
    pub fn size_of(tokens: usize) -> u64 {
        SUPERSEDED_TOKEN_SIZE.saturating_mul(tokens as u64)
    }

    /// Adds a token that a renewal in flight replaces. Returns the fingerprint of the token that is
    /// dropped for it, if there are too many.
    pub fn add(
        &mut self,
        fingerprint: Fingerprint,
        renewal: Renewal,
        replaced_by: u64,
        grace: Option<GraceWindow>,
    ) -> Option<Fingerprint> {
        self.grace = grace.filter(|_| renewal == Renewal::Rotation);
        let dropped = (self.tokens.len() >= MAX_SUPERSEDED).then(|| self.tokens.remove(0));
        self.tokens.push(SupersededToken {
            fingerprint,
            replaced_by,
            by_host: renewal == Renewal::Refresh,
            in_flight: true,
        });
        dropped.map(|token| token.fingerprint)
    }

    /// Marks the renewal that gave the session its token of this generation as answered.
    pub fn end_renewal(&mut self, generation: u64) {
        for token in &mut self.tokens {
            token.in_flight &= token.replaced_by != generation;
        }
    }

    /// Replaces the grace of the newest token, if it has one. The grace begins when the rotation is
    /// answered.
    pub fn begin_grace(&mut self, grace: Option<GraceWindow>) {
        if self.grace.is_some() {
            self.grace = grace;
        }
    }

    /// Returns the verdict on a token that is presented, if it is one of these.
    #[must_use]
    pub fn verdict(&self, fingerprint: &Fingerprint, now: Timestamp) -> Option<ReplayVerdict> {
        let mut newest_first = self.tokens.iter().rev().enumerate();
        let (age, token) = newest_first.find(|(_, token)| token.fingerprint == *fingerprint)?;
        let in_grace = self.grace.is_some_and(|grace| now < grace.until);
        Some(if token.in_flight {
            ReplayVerdict::RotationInFlight
        } else if age == 0 && in_grace {
            ReplayVerdict::WithinGrace
        } else if token.by_host {
            ReplayVerdict::Refused
        } else {
            ReplayVerdict::ReuseDetected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(byte: u8) -> Fingerprint {
        Fingerprint::from_bytes([byte; 32])
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn until(millis: u64) -> GraceWindow {
        GraceWindow {
            until: at(millis),
            until_by_host: at(millis),
        }
    }

    #[test]
    fn r27_a_rotated_token_is_first_in_flight_then_within_its_grace_then_reused() {
        let mut superseded = Superseded::default();
        superseded.add(token(1), Renewal::Rotation, 1, Some(until(10)));
        let verdict = |superseded: &Superseded, now| superseded.verdict(&token(1), at(now));
        assert_eq!(
            verdict(&superseded, 0),
            Some(ReplayVerdict::RotationInFlight)
        );
        superseded.end_renewal(1);
        assert_eq!(verdict(&superseded, 9), Some(ReplayVerdict::WithinGrace));
        assert_eq!(verdict(&superseded, 10), Some(ReplayVerdict::ReuseDetected));
        superseded.add(token(2), Renewal::Refresh, 2, Some(until(20)));
        superseded.end_renewal(2);
        assert_eq!(verdict(&superseded, 9), Some(ReplayVerdict::ReuseDetected));
        let by_host = superseded.verdict(&token(2), at(9));
        assert_eq!(by_host, Some(ReplayVerdict::Refused));
        assert_eq!(superseded.verdict(&token(3), at(9)), None);
    }

    #[test]
    fn r27_the_grace_of_a_rotated_token_begins_again_when_the_rotation_is_answered() {
        let mut superseded = Superseded::default();
        superseded.begin_grace(Some(until(10)));
        assert_eq!(superseded.grace(), None);
        superseded.add(token(1), Renewal::Rotation, 1, Some(until(10)));
        superseded.begin_grace(Some(until(15)));
        assert_eq!(superseded.grace(), Some(until(15)));
        superseded.add(token(2), Renewal::Refresh, 2, Some(until(20)));
        superseded.begin_grace(Some(until(25)));
        assert_eq!(superseded.grace(), None);
    }

    #[test]
    fn r3_each_superseded_token_counts_at_least_the_bytes_that_it_takes() {
        let mut superseded = Superseded::default();
        for count in 0..=u8::try_from(MAX_SUPERSEDED).unwrap() {
            let bytes = u64::from(count) * size_of::<SupersededToken>() as u64;
            assert!(superseded.size() >= bytes && superseded.size() <= 4 * bytes);
            assert_eq!(superseded.size(), Superseded::size_of(count.into()));
            superseded.add(token(count), Renewal::Refresh, count.into(), None);
        }
    }

    #[test]
    fn the_oldest_superseded_token_is_dropped_when_there_are_too_many() {
        let mut superseded = Superseded::default();
        for number in 0..MAX_SUPERSEDED {
            let number = u8::try_from(number).unwrap();
            let generation = u64::from(number) + 1;
            let dropped = superseded.add(token(number), Renewal::Rotation, generation, None);
            assert_eq!(dropped, None);
        }
        let dropped = superseded.add(token(100), Renewal::Rotation, 100, None);
        assert_eq!(dropped, Some(token(0)));
        assert_eq!(superseded.tokens().len(), MAX_SUPERSEDED);
    }

    #[test]
    fn r27_a_restored_rotation_that_was_in_flight_has_a_grace_that_never_ends() {
        let rotated = |by_host| SupersededToken {
            fingerprint: token(1),
            replaced_by: 1,
            by_host,
            in_flight: true,
        };
        let by_bearer = Superseded::restored(vec![rotated(false)], None);
        assert_eq!(by_bearer.grace(), Some(GraceWindow::ENDLESS));
        let by_host = Superseded::restored(vec![rotated(true)], None);
        assert_eq!(by_host.grace(), None);
        assert!(!by_host.tokens()[0].in_flight);
    }
}
