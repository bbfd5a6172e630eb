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
    /// A can be used once.
    LastUse,
    /// A can be used twice.
    Limited,
    /// An agent has at most two sessions; a third one is refused.
    Full,
    /// A root has at most one session below it.
    FullRoot,
    /// There are at most two sessions.
    FullInstance,
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
    SameHandle,
    /// The guard returns A's token for all later ones, with other handles.
    SameToken,
    /// The state is recorded, so that it can be restored.
    Recorded,
}

impl State {
    pub const ALL: [Self; 17] = [
        Self::One,
        Self::Two,
        Self::Family,
        Self::LastUse,
        Self::Limited,
        Self::Full,
        Self::FullRoot,
        Self::FullInstance,
        Self::Evicting,
        Self::Rotated,
        Self::Grace,
        Self::Cached,
        Self::Pending,
        Self::Idle,
        Self::SameHandle,
        Self::SameToken,
        Self::Recorded,
    ];

    /// The states of which the calls of `Call::FEW` read and change the most.
    pub const FEW: [Self; 3] = [Self::One, Self::Family, Self::Evicting];

    /// Returns the configuration of the manager.
    pub(crate) fn config(self) -> Config {
        let mut config = Config {
            default_ttl: Some(600),
            max_sessions: self.max_sessions(),
            max_sessions_per_agent: self.max_sessions_per_agent(),
            max_sessions_per_root: self.max_sessions_per_root(),
            ..Config::default()
        };
        match self {
            Self::Evicting => config.agent_overflow = Some(Overflow::EvictOldest),
            Self::Grace => config.rotation_grace = Some(60),
            Self::Cached => config.guard_recheck_interval = Some(60),
            Self::Idle => config.idle_timeout = Some(60),
            Self::Recorded => config.state_key = Some(vec![7; 32]),
            _ => {}
        }
        config
    }

    /// Returns whether there is a session B.
    pub(crate) fn has_second(self) -> bool {
        matches!(self, Self::Two | Self::Family)
    }

    /// Returns how many sessions there can be, if that is limited.
    pub(crate) fn max_sessions(self) -> Option<u32> {
        (self == Self::FullInstance).then_some(2)
    }

    /// Returns how many sessions an agent can have, if that is limited.
    pub(crate) fn max_sessions_per_agent(self) -> Option<u32> {
        match self {
            Self::Full => Some(2),
            Self::Evicting => Some(1),
            _ => None,
        }
    }

    /// Returns how many sessions there can be below a root, if that is limited.
    pub(crate) fn max_sessions_per_root(self) -> Option<u32> {
        (self == Self::FullRoot).then_some(1)
    }

    /// Returns whether the number of sessions is limited.
    fn limits_sessions(self) -> bool {
        self.max_sessions().is_some()
            || self.max_sessions_per_agent().is_some()
            || self.max_sessions_per_root().is_some()
    }

    /// Returns how often A can be used, if that is limited.
    pub(crate) fn max_uses(self) -> Option<u32> {
        match self {
            Self::LastUse => Some(1),
            Self::Limited => Some(2),
            _ => None,
        }
    }

    /// Returns whether A has a superseded token.
    pub(crate) fn is_rotated(self) -> bool {
        matches!(self, Self::Rotated | Self::Grace)
    }

    /// Returns whether all sessions depend on each other: by a limit, by the cached validations,
    /// which each revocation drops, or by a repeated handle or token.
    fn connects_all(self) -> bool {
        matches!(
            self,
            Self::Full
                | Self::FullInstance
                | Self::Evicting
                | Self::Cached
                | Self::SameHandle
                | Self::SameToken
        )
    }

    /// Returns whether the guard repeats handles or tokens.
    pub(crate) fn repeats(self) -> bool {
        matches!(self, Self::SameHandle | Self::SameToken)
    }
}

/// A session that exists before the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    A,
    B,
}

impl Target {
    /// Returns the name of the session.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "session-A",
            Self::B => "session-B",
        }
    }
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Creates a session of the first agent.
    Create,
    /// Delegates to the second agent.
    Delegate(Target),
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
    /// The kill switch of the first agent.
    RevokeAgent,
    /// The kill switch of A's role, which no other session has.
    RevokeRole,
    /// The kill switch of the role of the session that the first create or delegation makes.
    RevokeMadeRole,
    RevokeRoot,
    RevokeEverything,
    Prune,
    Flush,
    /// Flushes the revocations that are recorded when the call begins.
    FlushStored,
    CloseRun,
    AcceptClock,
}

impl Call {
    /// All calls.
    pub const ALL: [Self; 26] = [
        Self::Create,
        Self::Delegate(Target::A),
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
        Self::RevokeMadeRole,
        Self::RevokeRoot,
        Self::RevokeEverything,
        Self::Prune,
        Self::Flush,
        Self::FlushStored,
        Self::CloseRun,
        Self::AcceptClock,
        Self::Delegate(Target::B),
        Self::Validate(Target::B),
        Self::Refresh(Target::B),
        Self::Revoke(Target::B),
    ];

    /// Those that wait for the guard and differ in what they read and change. Each other call that
    /// waits for more than a flush is like one of them: `Authorize` and `ValidateMany` like
    /// `Validate`, `RevokeRole` and `RevokeRoot` like `Revoke`, because they end A and stop no
    /// create, `RevokeMadeRole` like `RevokeAgent`, and `Delegate(B)` like `Delegate(A)`.
    pub const CORE: [Self; 13] = [
        Self::Create,
        Self::Delegate(Target::A),
        Self::Validate(Target::A),
        Self::Rotate,
        Self::RotateSuperseded,
        Self::Refresh(Target::A),
        Self::Revoke(Target::A),
        Self::RevokeByToken,
        Self::RevokeAgent,
        Self::RevokeEverything,
        Self::Validate(Target::B),
        Self::Refresh(Target::B),
        Self::Revoke(Target::B),
    ];

    /// Those of the core calls that create, use, renew, and end A or all sessions of its agent.
    pub const FEW: [Self; 6] = [
        Self::Create,
        Self::Validate(Target::A),
        Self::Rotate,
        Self::Refresh(Target::A),
        Self::Revoke(Target::A),
        Self::RevokeAgent,
    ];

    /// Returns whether the call can be made in a state. `AcceptClock` is refused at once unless the
    /// clock goes back.
    fn applies_to(self, state: State, fault: Fault) -> bool {
        match self {
            Self::Delegate(Target::B)
            | Self::Validate(Target::B)
            | Self::Refresh(Target::B)
            | Self::Revoke(Target::B) => state.has_second(),
            Self::RotateSuperseded => state.is_rotated(),
            Self::FlushStored | Self::CloseRun => state == State::Recorded,
            Self::AcceptClock => fault == Fault::ClockBack,
            _ => true,
        }
    }

    /// Returns the session that has to be live until the call returns, if it succeeds.
    pub(crate) fn needs(self) -> Option<Target> {
        match self {
            Self::Delegate(target) | Self::Validate(target) | Self::Refresh(target) => Some(target),
            Self::Authorize | Self::ValidateMany | Self::Rotate | Self::RotateSuperseded => {
                Some(Target::A)
            }
            _ => None,
        }
    }

    /// Returns the session to which the call gives a new token.
    pub(crate) fn renews(self) -> Option<Target> {
        match self {
            Self::Rotate | Self::RotateSuperseded => Some(Target::A),
            Self::Refresh(target) => Some(target),
            _ => None,
        }
    }

    /// Returns the session that the call ends, with all below it.
    pub(crate) fn ends(self) -> Option<Target> {
        match self {
            Self::Revoke(target) => Some(target),
            Self::Invalidate
            | Self::RevokeByToken
            | Self::RevokeAgent
            | Self::RevokeRole
            | Self::RevokeRoot
            | Self::RevokeEverything => Some(Target::A),
            _ => None,
        }
    }

    /// Returns whether the call creates a session.
    pub(crate) fn creates(self) -> bool {
        matches!(self, Self::Create | Self::Delegate(_))
    }

    /// Returns the name of the session that the call makes, if it makes one. Calls have numbers.
    pub(crate) fn made_name(self, number: usize) -> Option<String> {
        match self {
            Self::Create => Some(format!("created-{number}")),
            Self::Delegate(_) => Some(format!("delegated-{number}")),
            _ => None,
        }
    }

    /// Returns whether the call is refused while the clock is behind (R6).
    pub(crate) fn grants_time(self) -> bool {
        self.creates() || matches!(self, Self::Refresh(_))
    }

    /// Returns whether the call takes uses of A.
    pub(crate) fn uses_first(self) -> bool {
        matches!(
            self,
            Self::Validate(Target::A) | Self::Authorize | Self::ValidateMany
        )
    }

    /// Returns whether the call changes nothing until the guard has answered this often.
    pub(crate) fn only_plans(self, answers: u32) -> bool {
        match self {
            Self::Create | Self::Delegate(_) | Self::Refresh(_) => answers == 0,
            // The first answer is the validation of the token.
            Self::Rotate => answers <= 1,
            Self::Validate(_) | Self::Authorize | Self::ValidateMany | Self::Touch => true,
            _ => false,
        }
    }

    /// Returns what the call can read or change, as bits: A and all below it, B, and sessions that
    /// `Create` makes.
    fn footprint(self, state: State) -> u8 {
        const A: u8 = 1;
        const B: u8 = 2;
        const CREATED: u8 = 4;
        let tree = if state == State::Family { A | B } else { A };
        if state.connects_all() {
            return A | B | CREATED;
        }
        match self {
            Self::Create => CREATED,
            Self::Validate(Target::B)
            | Self::Refresh(Target::B)
            | Self::Revoke(Target::B)
            | Self::Delegate(Target::B)
                if state == State::Two =>
            {
                B
            }
            Self::RevokeAgent => tree | CREATED,
            Self::RevokeMadeRole
            | Self::RevokeEverything
            | Self::Prune
            | Self::Flush
            | Self::FlushStored
            | Self::CloseRun
            | Self::AcceptClock => A | B | CREATED,
            _ => tree,
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
    /// The guard answers one request with `revoked`.
    Revoked,
    /// The clock goes back 5 minutes, which is more than its tolerance.
    ClockBack,
    /// The clock goes forward 11 minutes, after which all sessions have expired.
    ClockForward,
}

impl Fault {
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Drop,
        Self::Unavailable,
        Self::Revoked,
        Self::ClockBack,
        Self::ClockForward,
    ];

    /// Returns whether it is a step of the clock.
    pub(crate) fn is_of_clock(self) -> bool {
        matches!(self, Self::ClockBack | Self::ClockForward)
    }

    /// Returns whether it is an answer of the guard.
    pub(crate) fn is_of_guard(self) -> bool {
        matches!(self, Self::Unavailable | Self::Revoked)
    }
}

/// A fault that is planted between the calls and the manager, to show that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// `validate` succeeds if the session was live when it began.
    ValidateBeforeTheWait,
    /// A renewal that returned `conflict` is repeated.
    RenewalAfterConflict,
    /// A create that returned `session-revoked` is repeated.
    CreateAfterKillSwitch,
    /// The kill switch of an agent revokes the sessions that it lists, one after the other.
    KillSwitchByListing,
    /// `revoke` ends the session only after the guard has answered.
    RevokeAfterTheGuard,
    /// `rotate` ignores that the session was revoked before it is answered.
    RotateIgnoresEnd,
}

impl Planted {
    pub const ALL: [Self; 6] = [
        Self::ValidateBeforeTheWait,
        Self::RenewalAfterConflict,
        Self::CreateAfterKillSwitch,
        Self::KillSwitchByListing,
        Self::RevokeAfterTheGuard,
        Self::RotateIgnoresEnd,
    ];
}

/// A state and the calls that are made on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    pub state: State,
    pub calls: Vec<Call>,
    pub fault: Fault,
    pub timing: Timing,
    pub planted: Option<Planted>,
}

impl Case {
    /// Returns all calls as bits.
    pub(crate) fn all_calls(&self) -> u8 {
        (0..self.calls.len()).fold(0, |bits, call| bits | 1 << call)
    }

    /// Returns the name of the session that the first create or delegation makes, which is its
    /// role. Without one, the role is that of no session.
    pub(crate) fn made_role(&self) -> String {
        let mut calls = self.calls.iter().zip(0..);
        let made = calls.find_map(|(call, number)| call.made_name(number));
        made.unwrap_or_else(|| "of-no-session".into())
    }

    /// Returns whether a call is a kill switch that names the session that another call makes.
    pub(crate) fn cuts_off(&self, switch: usize, creating: usize) -> bool {
        let call = self.calls[creating];
        match self.calls[switch] {
            Call::RevokeAgent => call == Call::Create,
            Call::RevokeMadeRole => call.made_name(creating) == Some(self.made_role()),
            Call::RevokeEverything => call.creates(),
            _ => false,
        }
    }

    /// Returns whether a session can expire during the calls.
    pub(crate) fn can_expire(&self) -> bool {
        self.fault == Fault::ClockForward
    }

    /// Returns whether two calls share nothing.
    pub(crate) fn are_apart(&self, a: usize, b: usize) -> bool {
        let footprint = |call: usize| self.calls[call].footprint(self.state);
        footprint(a) & footprint(b) == 0
    }

    /// Returns whether a call that only plans changes nothing that others read: it takes no place,
    /// no use and no cached validation, and finds no expired session.
    pub(crate) fn plans_change_nothing(&self, call: usize) -> bool {
        let takes_place = self.calls[call].creates() && self.state.limits_sessions();
        !takes_place
            && self.state != State::Cached
            && self.state.max_uses().is_none()
            && !self.can_expire()
    }

    /// Returns whether a confirmed revocation changes nothing that others read, neither in the
    /// component nor in the guard. It makes the handle free for another token.
    pub(crate) fn confirmations_change_nothing(&self) -> bool {
        let reads_pending =
            |call: &Call| matches!(call, Call::Flush | Call::FlushStored | Call::AcceptClock);
        self.timing == Timing::AtRequest
            && !self.state.repeats()
            && !self.calls.iter().any(reads_pending)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            state,
            calls,
            fault,
            timing,
            planted,
        } = self;
        write!(
            f,
            "state {state:?}, calls {calls:?}, fault {fault:?}, guard acts {timing:?}"
        )?;
        match planted {
            Some(planted) => write!(f, ", planted {planted:?}"),
            None => Ok(()),
        }
    }
}

/// Returns the cases of this many calls out of a list, on each state to which they apply.
#[must_use]
pub fn cases(count: usize, calls: &[Call], faults: &[Fault], timings: &[Timing]) -> Vec<Case> {
    let mut cases = Vec::new();
    for state in State::ALL {
        for &fault in faults {
            let applicable: Vec<_> = calls
                .iter()
                .copied()
                .filter(|call| call.applies_to(state, fault))
                .collect();
            for calls in choose(count, &applicable) {
                for &timing in timings {
                    cases.push(Case {
                        state,
                        calls: calls.clone(),
                        fault,
                        timing,
                        planted: None,
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
