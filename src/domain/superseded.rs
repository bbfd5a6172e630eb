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

/// What has become of the answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The call has not returned yet.
    InFlight,
    /// The call has returned, or was cancelled.
    Ended,
    /// The caller did not get the token: the instance ended before the call returned, or the call
    /// returned `conflict` because a later renewal took effect before.
    Lost,
}

/// How `rotate` treats a superseded token that is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayVerdict {
    /// A rotation with it succeeds until the grace has ended.
    WithinGrace,
    /// A rotation with it succeeds. Its bearer has rotated it, and nobody got a newer token.
    ReplyLost,
    /// A rotation with it ends the session, because two parties hold copies of the token.
    ReuseDetected,
    /// It is refused, because a `refresh` superseded it, or the token that replaced it.
    Refused,
    /// It is refused. The renewal that superseded it, or that its bearer repeats, is still in
    /// flight, so the bearer cannot know yet that it is superseded.
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

/// A superseded token.
#[derive(Clone, Debug)]
pub struct SupersededToken {
    /// The token's fingerprint.
    pub fingerprint: Fingerprint,
    /// The generation of the token that replaced it.
    pub replaced_by: u64,
    /// How it was replaced.
    pub renewal: Renewal,
    /// The answer to the call that replaced it.
    pub reply: Reply,
}

impl Superseded {
    /// Returns the superseded tokens of a restored session.
    #[must_use]
    pub fn restored(tokens: Vec<SupersededToken>, grace: Option<GraceWindow>) -> Self {
        Self { tokens, grace }
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
            renewal,
            reply: Reply::InFlight,
        });
        dropped.map(|token| token.fingerprint)
    }

    /// Marks the answer to the renewal that gave the session its token of this generation, if that
    /// renewal is in flight.
    pub fn end_renewal(&mut self, generation: u64, reply: Reply) {
        for token in &mut self.tokens {
            if token.replaced_by == generation && token.reply == Reply::InFlight {
                token.reply = reply;
            }
        }
    }

    /// Marks the last renewals as answered, because the current token was presented. Returns
    /// whether their answers counted as lost.
    pub fn end_lost_replies(&mut self) -> bool {
        let is_lost = are_lost(self.last_renewals());
        if is_lost {
            for token in &mut self.tokens {
                token.reply = Reply::Ended;
            }
        }
        is_lost
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
        let is_it = |token: &SupersededToken| token.fingerprint == *fingerprint;
        let index = self.tokens.iter().rposition(is_it)?;
        let token = self.tokens.get(index)?;
        let is_repeated = self.presented_last() == Some(index);
        let reply = match self.last_renewals().first() {
            Some(last) if is_repeated => last.reply,
            _ => token.reply,
        };
        let is_newest = index.saturating_add(1) == self.tokens.len();
        let in_grace = is_newest && self.grace.is_some_and(|grace| now < grace.until);
        Some(match reply {
            Reply::InFlight => ReplayVerdict::RotationInFlight,
            Reply::Lost if is_repeated => {
                // If a later answer was not lost, the host has a newer token for the bearer.
                if are_lost(self.last_renewals()) {
                    ReplayVerdict::ReplyLost
                } else {
                    ReplayVerdict::Refused
                }
            }
            _ if in_grace => ReplayVerdict::WithinGrace,
            _ if token.renewal == Renewal::Refresh => ReplayVerdict::Refused,
            _ => ReplayVerdict::ReuseDetected,
        })
    }

    /// Returns the index of the token that the bearer presented for its last renewal. A retry
    /// presents the token that the rotation before it superseded.
    fn presented_last(&self) -> Option<usize> {
        let is_rotated = |token: &SupersededToken| token.renewal == Renewal::Rotation;
        self.tokens.iter().rposition(is_rotated)
    }

    /// Returns the bearer's last renewal and those of the host after it; none if the bearer has
    /// not renewed its token.
    fn last_renewals(&self) -> &[SupersededToken] {
        let by_bearer = |token: &SupersededToken| token.renewal != Renewal::Refresh;
        let last = self.tokens.iter().rposition(by_bearer);
        let last = last.and_then(|last| self.tokens.get(last..));
        last.unwrap_or_default()
    }
}

/// Returns whether these are renewals of which no caller got a token.
fn are_lost(renewals: &[SupersededToken]) -> bool {
    !renewals.is_empty() && renewals.iter().all(|token| token.reply == Reply::Lost)
}

#[cfg(test)]
mod tests {
    use super::ReplayVerdict::{Refused, ReplyLost, ReuseDetected, RotationInFlight};
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
        superseded.end_renewal(1, Reply::Ended);
        assert_eq!(verdict(&superseded, 9), Some(ReplayVerdict::WithinGrace));
        assert_eq!(verdict(&superseded, 10), Some(ReplayVerdict::ReuseDetected));
        superseded.add(token(2), Renewal::Refresh, 2, Some(until(20)));
        superseded.end_renewal(2, Reply::Ended);
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

    /// Returns the superseded tokens 1, 2, ... of a session, with these renewals and replies.
    fn superseded(renewals: &[(Renewal, Reply)]) -> Superseded {
        let tokens = renewals.iter().zip(1..);
        let tokens = tokens.map(|(&(renewal, reply), number)| SupersededToken {
            fingerprint: token(number),
            replaced_by: number.into(),
            renewal,
            reply,
        });
        Superseded::restored(tokens.collect(), None)
    }

    fn verdicts(superseded: &Superseded) -> Vec<ReplayVerdict> {
        let numbers = 1..=u8::try_from(superseded.tokens().len()).unwrap();
        let verdicts = numbers.map(|number| superseded.verdict(&token(number), at(0)));
        verdicts.map(Option::unwrap).collect()
    }

    #[test]
    fn r14_a_token_that_is_retried_is_in_flight_until_the_retry_is_answered() {
        let mut superseded = Superseded::default();
        superseded.add(token(1), Renewal::Rotation, 1, Some(until(10)));
        superseded.end_renewal(1, Reply::Ended);
        superseded.add(token(2), Renewal::Retry, 2, Some(until(10)));
        assert_eq!(verdicts(&superseded), [RotationInFlight, RotationInFlight]);
        superseded.add(token(3), Renewal::Refresh, 3, Some(until(10)));
        superseded.end_renewal(3, Reply::Ended);
        let expected = [RotationInFlight, RotationInFlight, Refused];
        assert_eq!(verdicts(&superseded), expected);
        superseded.end_renewal(2, Reply::Ended);
        let expected = [ReuseDetected, ReuseDetected, Refused];
        assert_eq!(verdicts(&superseded), expected);
    }

    #[test]
    fn r27_the_token_that_was_presented_for_a_lost_answer_can_be_presented_again() {
        use Renewal::{Refresh, Retry, Rotation};
        use Reply::{Ended, Lost};
        for (renewals, expected) in [
            (&[(Rotation, Lost)][..], &[ReplyLost][..]),
            (&[(Refresh, Lost)], &[Refused]),
            // The bearer has presented token 1 twice, and does not have token 2.
            (
                &[(Rotation, Ended), (Retry, Lost)],
                &[ReplyLost, ReuseDetected],
            ),
            (
                &[(Rotation, Lost), (Retry, Lost)],
                &[ReplyLost, ReuseDetected],
            ),
            (
                &[(Rotation, Lost), (Retry, Ended)],
                &[ReuseDetected, ReuseDetected],
            ),
            // No one has the token of the refresh.
            (&[(Rotation, Lost), (Refresh, Lost)], &[ReplyLost, Refused]),
            // The host has the token of the refresh.
            (&[(Rotation, Lost), (Refresh, Ended)], &[Refused, Refused]),
            (
                &[(Rotation, Lost), (Refresh, Ended), (Rotation, Lost)],
                &[ReuseDetected, Refused, ReplyLost],
            ),
            (
                &[(Rotation, Ended), (Refresh, Lost), (Retry, Lost)],
                &[ReplyLost, Refused, ReuseDetected],
            ),
        ] {
            assert_eq!(verdicts(&superseded(renewals)), expected, "{renewals:?}");
        }
    }
}
