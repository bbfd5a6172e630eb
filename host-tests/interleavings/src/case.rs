//! Cases: a state of a manager, and the calls that are made on it.

use std::fmt;

use clawdb_session::Config;
use clawdb_session::Overflow;

use crate::ports::Timing;

/// The state in which the calls begin. In each one the first agent has the session A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing else.
    One,
    /// The second agent has the session B.
    Two,
    /// The second agent has B, which was delegated from A.
    Family,
    /// A can be used twice.
    Limited,
    /// An agent has at most two sessions; a third one is refused.
    Full,
    /// An agent has at most one session; its oldest one is evicted.
    Evicting,
    /// A was rotated once.
    Rotated,
    /// A was rotated once, with a rotation grace.
    Grace,
    /// The guard's validation of A's token is cached.
    Cached,
    /// A third session of the first agent was revoked, and the guard was unavailable.
    Pending,
    /// A expires after a minute without use.
    Idle,
    /// The guard gives all later tokens the handle of A's.
    Repeating,
}

impl State {
    pub const ALL: [Self; 12] = [
        Self::One,
        Self::Two,
        Self::Family,
        Self::Limited,
        Self::Full,
        Self::Evicting,
        Self::Rotated,
        Self::Grace,
        Self::Cached,
        Self::Pending,
        Self::Idle,
        Self::Repeating,
    ];

    /// Returns the configuration of the manager.
    pub(crate) fn config(self) -> Config {
        let mut config = Config {
            default_ttl: Some(600),
            ..Config::default()
        };
        config.max_sessions_per_agent = self.max_sessions_per_agent();
        match self {
            Self::Evicting => config.agent_overflow = Some(Overflow::EvictOldest),
            Self::Grace => config.rotation_grace = Some(60),
            Self::Cached => config.guard_recheck_interval = Some(60),
            Self::Idle => config.idle_timeout = Some(60),
            _ => {}
        }
        config
    }

    /// Returns whether there is a session B.
    pub(crate) fn has_second(self) -> bool {
        matches!(self, Self::Two | Self::Family)
    }

    /// Returns how many sessions an agent can have, if that is limited.
    pub(crate) fn max_sessions_per_agent(self) -> Option<u32> {
        match self {
            Self::Full => Some(2),
            Self::Evicting => Some(1),
            _ => None,
        }
    }

    /// Returns whether A has a superseded token.
    pub(crate) fn is_rotated(self) -> bool {
        matches!(self, Self::Rotated | Self::Grace)
    }
}

/// A session that exists before the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    A,
    B,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Creates a session of the first agent.
    Create,
    /// Delegates from A to the second agent.
    Delegate,
    Validate(Target),
    Authorize,
    /// Validates A's token twice in one call.
    ValidateMany,
    Touch,
    Rotate,
    /// Rotates A's superseded token.
    RotateSuperseded,
    Refresh(Target),
    Revoke(Target),
    Invalidate,
    RevokeByToken,
    RevokeAgent,
    RevokeRole,
    RevokeRoot,
    RevokeEverything,
    Prune,
    Flush,
    AcceptClock,
}

impl Call {
    /// Those about A, or about all sessions.
    pub const ALL: [Self; 18] = [
        Self::Create,
        Self::Delegate,
        Self::Validate(Target::A),
        Self::Authorize,
        Self::ValidateMany,
        Self::Touch,
        Self::Rotate,
        Self::RotateSuperseded,
        Self::Refresh(Target::A),
        Self::Revoke(Target::A),
        Self::Invalidate,
        Self::RevokeByToken,
        Self::RevokeAgent,
        Self::RevokeRole,
        Self::RevokeRoot,
        Self::RevokeEverything,
        Self::Prune,
        Self::Flush,
    ];

    /// Those about B.
    pub const SECOND: [Self; 3] = [
        Self::Validate(Target::B),
        Self::Refresh(Target::B),
        Self::Revoke(Target::B),
    ];

    /// Those that change sessions in different ways.
    pub const CORE: [Self; 7] = [
        Self::Create,
        Self::Delegate,
        Self::Validate(Target::A),
        Self::Rotate,
        Self::Refresh(Target::A),
        Self::Revoke(Target::A),
        Self::RevokeAgent,
    ];

    /// Returns whether the call needs A to be live until it returns.
    pub(crate) fn needs_first(self) -> bool {
        self.uses_first()
            || matches!(
                self,
                Self::Delegate | Self::Rotate | Self::RotateSuperseded | Self::Refresh(Target::A)
            )
    }

    /// Returns whether the call is refused while the clock is behind (R6).
    pub(crate) fn grants_time(self) -> bool {
        matches!(self, Self::Create | Self::Delegate | Self::Refresh(_))
    }

    /// Returns whether the call takes uses of A.
    pub(crate) fn uses_first(self) -> bool {
        matches!(
            self,
            Self::Validate(Target::A) | Self::Authorize | Self::ValidateMany
        )
    }

    /// Returns whether the call is a kill switch that names the sessions that `Create` makes.
    pub(crate) fn ends_created(self) -> bool {
        matches!(self, Self::RevokeAgent | Self::RevokeEverything)
    }

    /// Returns the agents whose sessions the call can read or change, as bits.
    pub(crate) fn footprint(self, state: State) -> u8 {
        const FIRST: u8 = 1;
        const SECOND: u8 = 2;
        let whole_a = if state == State::Family {
            FIRST | SECOND
        } else {
            FIRST
        };
        match self {
            Self::Validate(Target::B) | Self::Refresh(Target::B) | Self::Revoke(Target::B)
                if state == State::Two =>
            {
                SECOND
            }
            Self::RevokeRole
            | Self::RevokeEverything
            | Self::Prune
            | Self::Flush
            | Self::AcceptClock
            | Self::Delegate => FIRST | SECOND,
            _ => whole_a,
        }
    }
}

/// What goes wrong once in a schedule, at any point of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    None,
    /// A call is dropped while it waits.
    Drop,
    /// The guard is unavailable for one request.
    Unavailable,
    /// The clock goes back 5 minutes, which is more than its tolerance.
    ClockBack,
    /// The clock goes forward 11 minutes, after which all sessions have expired.
    ClockForward,
}

impl Fault {
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Drop,
        Self::Unavailable,
        Self::ClockBack,
        Self::ClockForward,
    ];

    /// Returns whether it is a step of the clock.
    pub(crate) fn is_of_clock(self) -> bool {
        matches!(self, Self::ClockBack | Self::ClockForward)
    }
}

/// A state and the calls that are made on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    pub state: State,
    pub calls: Vec<Call>,
    pub fault: Fault,
    pub timing: Timing,
}

impl Case {
    /// Returns all calls as bits.
    pub(crate) fn all_calls(&self) -> u8 {
        (0..self.calls.len()).fold(0, |bits, call| bits | 1 << call)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            state,
            calls,
            fault,
            timing,
        } = self;
        write!(
            f,
            "state {state:?}, calls {calls:?}, fault {fault:?}, guard acts {timing:?}"
        )
    }
}

/// Returns the cases of this many calls out of a list, on each state to which they apply.
#[must_use]
pub fn cases(count: usize, calls: &[Call], faults: &[Fault], timings: &[Timing]) -> Vec<Case> {
    let mut cases = Vec::new();
    for state in State::ALL {
        let applicable: Vec<_> = calls
            .iter()
            .copied()
            .chain(Call::SECOND.into_iter().filter(|_| state.has_second()))
            .filter(|call| *call != Call::RotateSuperseded || state.is_rotated())
            .collect();
        for calls in choose(count, &applicable) {
            for &fault in faults {
                for &timing in timings {
                    let calls = calls.clone();
                    cases.push(Case {
                        state,
                        calls,
                        fault,
                        timing,
                    });
                }
            }
        }
    }
    cases
}

/// Returns all choices of this many items, in the order of the list. An item can be chosen again.
fn choose<T: Copy>(count: usize, items: &[T]) -> Vec<Vec<T>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut choices = Vec::new();
    for (number, &first) in items.iter().enumerate() {
        for mut rest in choose(count - 1, &items[number..]) {
            rest.insert(0, first);
            choices.push(rest);
        }
    }
    choices
}
