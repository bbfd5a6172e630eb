//! A session manager that is measured.

use std::error::Error;

use serde::{Deserialize, Serialize};

/// Why there is no measurement: what the contestant says.
pub type Failed = Box<dyn Error>;

/// What is measured. Times are microseconds for each call, of as many calls as were asked for, one after
/// the other unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Checking the token of a session, any of those there are.
    Validate,
    /// The same for 64 tokens in one call; the time is for each token.
    ValidateMany,
    /// Making a session more. As many [`Measure::Revoke`] follow.
    Create,
    /// Ending the session that was made last.
    Revoke,
    /// Giving a session, any of those there are, a new token.
    Refresh,
    /// Ending the ten sessions of an agent, of which there are no others. They are made before, which is not
    /// timed.
    RevokeAll,
    /// Looking for sessions that are over, where none is.
    Prune,
    /// A call that does nothing.
    Nothing,
    /// A call that takes a token, asks for one thing and returns the same record as [`Measure::Validate`].
    Floor,
    /// Bytes that are taken, by all sessions and what is there without them.
    Memory,
    /// The longest time that the thread computed for a single create since this was last asked.
    LongestCreate,
    /// [`Measure::Validate`] by 1 caller: calls a second.
    Callers1,
    /// The same by 8 callers at a time.
    Callers8,
    /// The same by 64 callers at a time.
    Callers64,
    /// [`Measure::Nothing`] by 64 callers at a time, by the same way: calls a second.
    Nothing64,
    /// Creates that are all under way at a time, with a guard that takes 10 ms: the time until all are done.
    InFlight,
    /// The processor's time for as many creates, one after the other, with a guard that answers at once, in all.
    CreatesInAll,
    /// From the compiled code to an instance that answers.
    Start,
    /// Making an instance, where there are as many as were asked for.
    Tenant,
    /// Bytes of each of them when it has answered a call.
    TenantMemory,
}

/// A session manager that is measured.
pub trait Contestant {
    /// Sees to it that it has so many sessions.
    ///
    /// # Errors
    /// What went wrong. It is asked for nothing more then.
    fn grow(&mut self, sessions: usize) -> Result<(), Failed>;

    /// Measures, with so many calls; nothing where it has no such thing.
    ///
    /// # Errors
    /// What went wrong. It is asked for nothing more then.
    fn measure(&mut self, measure: Measure, calls: usize) -> Result<Option<f64>, Failed>;
}
