//! The goals, each with its limit, the measured value, and whether it is met.

use std::io::{self, Write};

use clawdb_session_bench_protocol::target::{Metric, Operation, World};
use clawdb_session_host::{COMPONENT, SYNC_COMPONENT};

use super::results::{Quantity, Results, short_count};
use super::table::three_digits;
use super::targets::{
    COMPONENT_SYNC, CORE, FRESH_COMPONENT, INSTANCES, LOCAL_SESSIONS, ORIGINAL, REDIS, SESSION_HOST,
};

/// The number of concurrent callers in goals.
const MANY_CALLERS: u32 = 64;

/// A goal and its result.
pub struct Goal {
    what: String,
    limit: String,
    /// The measured value, or the reason for which it was not measured.
    measured: String,
    /// Whether the goal is met; `None` if it was not measured.
    met: Option<bool>,
}

/// The bound of a goal.
#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

impl Goal {
    /// Returns the goal for a value with this unit.
    fn new(what: impl Into<String>, limit: Limit, unit: &str, measured: Option<f64>) -> Self {
        let (bound, number, met) = match limit {
            AtMost(most) => ("at most", most, measured.map(|value| value <= most)),
            AtLeast(least) => ("at least", least, measured.map(|value| value >= least)),
        };
        Self {
            what: what.into(),
            limit: format!("{bound} {number}{unit}"),
            measured: measured.map_or_else(
                || "not measured".into(),
                |value| format!("{}{unit}", three_digits(value)),
            ),
            met,
        }
    }

    /// Adds the reason to a goal that was not measured.
    fn unmeasured(mut self, why: &str) -> Self {
        if self.met.is_none() {
            self.measured = format!("not measured: {why}");
        }
        self
    }
}

/// Returns all goals. A goal that applies to several numbers of sessions is in the list once for
/// each. The component is that of the world `session-sync` if a goal does not name the other one.
pub fn goals(results: &Results) -> Vec<Goal> {
    let mut goals = compared_with_original(results);
    goals.extend(compared_with_core(results));
    goals.extend(compared_with_peers(results));
    goals.extend(small_calls(results));
    goals.extend(growth(results));
    goals.extend(threads(results));
    goals.extend(world_session(results));
    goals.extend(starts(results));
    goals.extend(sizes());
    goals
}

fn compared_with_original(results: &Results) -> Vec<Goal> {
    let (fewest, most) = results.session_range();
    let mut goals = Vec::new();
    for (operation, most_sessions) in [
        (Operation::Validate, None),
        (Operation::Create, Some(2.0)),
        (Operation::Refresh, Some(2.0)),
    ] {
        for &sessions in &results.session_counts {
            let what = format!(
                "{operation}, {} sessions / the original design's",
                short_count(sessions)
            );
            let most = most_sessions.unwrap_or_else(|| validate_limit(sessions == fewest));
            let ratio = time_ratio(results, operation, sessions, ORIGINAL);
            goals.push(Goal::new(what, AtMost(most), "x", ratio));
        }
    }
    let revoke_all = results.ratio(
        time(ORIGINAL, most, Operation::RevokeAllForAgent),
        time(COMPONENT_SYNC, most, Operation::RevokeAllForAgent),
    );
    let what = format!(
        "the original design's revoke-all of 10 among {} / ours",
        short_count(most)
    );
    goals.push(Goal::new(what, AtLeast(2_000.0), "x", revoke_all));
    goals
}

/// Returns the limit of a `validate`, as a ratio to the original design's. Much of the original's
/// time is that of SHA-256. Some processors have instructions for it, which WebAssembly has not.
fn validate_limit(has_fewest_sessions: bool) -> f64 {
    match (has_sha_instructions(), has_fewest_sessions) {
        (true, true) => 1.3,
        (true, false) => 1.0,
        (false, _) => 0.9,
    }
}

/// Returns whether native code uses instructions of the processor for SHA-256.
fn has_sha_instructions() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn compared_with_core(results: &Results) -> Vec<Goal> {
    let (fewest, _) = results.session_range();
    let operations = [Operation::Validate, Operation::Create, Operation::Revoke];
    let goals = operations.map(|operation| {
        let what = format!(
            "{operation}, {} sessions / the same core called natively",
            short_count(fewest)
        );
        let ratio = time_ratio(results, operation, fewest, CORE);
        Goal::new(what, AtMost(2.0), "x", ratio)
    });
    goals.into()
}

fn compared_with_peers(results: &Results) -> Vec<Goal> {
    let (fewest, most) = results.session_range();
    let operation = Operation::Validate;
    let mut goals = Vec::new();
    for (peer, least) in [(REDIS, 4.0), ("claw-guard", 6.0)] {
        let ratio = results.ratio(
            time(peer, fewest, operation),
            time(COMPONENT_SYNC, fewest, operation),
        );
        let what = format!(
            "validate of {peer}, {} sessions / ours",
            short_count(fewest)
        );
        goals.push(Goal::new(what, AtLeast(least), "x", ratio));
    }
    let rate = validate_rate(results, MANY_CALLERS);
    let ratio = results.ratio((LOCAL_SESSIONS, most, rate), (REDIS, most, rate));
    let what = format!("validates per second of {MANY_CALLERS} callers, one instance / redis");
    goals.push(Goal::new(what, AtLeast(1.5), "x", ratio));
    let goals = goals.into_iter();
    goals
        .map(|goal| goal.unmeasured("the peer is missing"))
        .collect()
}

/// Returns the goals about calls that are compared with other calls of the component.
fn small_calls(results: &Results) -> Vec<Goal> {
    let (fewest, most) = results.session_range();
    let validate_many = results.ratio(
        time(COMPONENT_SYNC, fewest, Operation::ValidateMany),
        time(COMPONENT_SYNC, fewest, Operation::Validate),
    );
    let what = format!(
        "validate-many, {} sessions, each of 64 tokens / validate",
        short_count(fewest)
    );
    let mut goals = vec![Goal::new(what, AtMost(0.5), "x", validate_many)];
    for (operation, what, sessions, limit) in [
        (Operation::Revoke, "revoke,", fewest, 4.0),
        (Operation::Prune, "prune with nothing due, among", most, 2.0),
    ] {
        let ratio = results.ratio(
            time(COMPONENT_SYNC, sessions, operation),
            time(COMPONENT_SYNC, sessions, Operation::ActiveCount),
        );
        let sessions = short_count(sessions);
        let what = format!("{what} {sessions} sessions / a call that reads a number");
        goals.push(Goal::new(what, AtMost(limit), "x", ratio));
    }
    goals
}

/// Returns the goals about growth with the number of sessions.
fn growth(results: &Results) -> Vec<Goal> {
    let (fewest, most) = results.session_range();
    let longest = results.median(FRESH_COMPONENT, most, Quantity::LongestCreateCpu);
    let what = format!(
        "longest create on the way from 0 to {}, CPU time",
        short_count(most)
    );
    let mut goals = vec![Goal::new(
        what,
        AtMost(1.0),
        " ms",
        longest.map(|time| time / 1e6),
    )];
    let memory = Quantity::Metric(Metric::LinearMemory);
    let memory = results.median(COMPONENT_SYNC, most, memory);
    let what = format!("linear memory of a session, of {}", short_count(most));
    let memory = memory.map(|bytes| bytes / f64::from(most));
    goals.push(Goal::new(what, AtMost(800.0), " bytes", memory));
    let validate = results.ratio(
        time(COMPONENT_SYNC, most, Operation::Validate),
        time(COMPONENT_SYNC, fewest, Operation::Validate),
    );
    let what = format!(
        "validate, {} / {} sessions",
        short_count(most),
        short_count(fewest)
    );
    goals.push(Goal::new(what, AtMost(1.5), "x", validate));
    goals
}

/// Returns the goals about callers in other threads.
fn threads(results: &Results) -> Vec<Goal> {
    let (fewest, most) = results.session_range();
    let lone = results.ratio(
        time(LOCAL_SESSIONS, fewest, Operation::Validate),
        time(COMPONENT_SYNC, fewest, Operation::Validate),
    );
    let what = "validate in LocalSessions from another thread / a direct call";
    let mut goals = vec![Goal::new(what, AtMost(1.1), "x", lone)];
    let rate = |callers| (LOCAL_SESSIONS, most, validate_rate(results, callers));
    let many = results.ratio(rate(MANY_CALLERS), rate(1));
    let what = format!("validates per second, {MANY_CALLERS} threads on one instance / 1 thread");
    goals.push(Goal::new(what, AtLeast(0.8), "x", many));
    let milliseconds = results.caller_milliseconds;
    let rate = |workspaces| {
        let metric = Metric::WorkspaceRate {
            workspaces,
            milliseconds,
        };
        (LOCAL_SESSIONS, most, Quantity::Metric(metric))
    };
    let workspaces = results.ratio(rate(2), rate(1));
    let what = "validates per second, 2 workspaces on 2 threads / 1 on 1 thread";
    goals.push(Goal::new(what, AtLeast(1.8), "x", workspaces));
    goals
}

/// Returns the goals about overlapping calls, which only the world `session` has.
fn world_session(results: &Results) -> Vec<Goal> {
    let (_, sessions) = results.session_range();
    let count = results.concurrency;
    let creates = Quantity::Metric(Metric::ConcurrentCreates { creates: count });
    let what = format!(
        "session: {} concurrent creates, less 10 ms / sequential creates",
        short_count(count)
    );
    let creates = results.median(INSTANCES, sessions, creates);
    let mut goals = vec![Goal::new(what, AtMost(1.5), "x", creates)];
    let no_op = Quantity::Metric(Metric::NoOpRate {
        callers: MANY_CALLERS,
        milliseconds: results.caller_milliseconds,
    });
    let rate = results.ratio(
        (SESSION_HOST, sessions, validate_rate(results, MANY_CALLERS)),
        (SESSION_HOST, sessions, no_op),
    );
    let what = format!("session: validates / no-op calls per second, {MANY_CALLERS} callers");
    let rate = rate.map(|rate| rate * 100.0);
    goals.push(Goal::new(what, AtLeast(40.0), " %", rate));
    goals
}

/// Returns the goals about the start of instances and about many instances.
fn starts(results: &Results) -> Vec<Goal> {
    let (_, sessions) = results.session_range();
    let count = results.concurrency;
    let metric = |metric| results.median(INSTANCES, sessions, Quantity::Metric(metric));
    let world = World::SessionSync;
    let start = metric(Metric::StartTime { world });
    let cached = metric(Metric::CachedStartTime { world });
    let time = metric(Metric::InstantiationTime {
        world,
        instances: count,
    });
    let memory = metric(Metric::InstanceMemory {
        world,
        instances: count,
    });
    let milliseconds = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1e3);
    let count = short_count(count);
    vec![
        Goal::new(
            "start of an instance",
            AtMost(1.0),
            " ms",
            milliseconds(start),
        ),
        Goal::new(
            "start of an instance, with its code from a code cache",
            AtMost(1.0),
            " ms",
            milliseconds(cached),
        ),
        Goal::new(
            format!("time to create an instance, of {count}"),
            AtMost(40.0),
            " us",
            time.map(|seconds| seconds * 1e6),
        ),
        Goal::new(
            format!("memory of an empty instance, of {count}"),
            AtMost(75.0),
            " KiB",
            memory.map(|bytes| bytes / 1_024.0),
        ),
    ]
}

fn sizes() -> Vec<Goal> {
    let sizes = [
        (World::SessionSync, SYNC_COMPONENT, 252_000.0),
        (World::Session, COMPONENT, 292_000.0),
    ];
    let goals = sizes.map(|(world, component, most)| {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let size = component.len() as f64;
        let what = format!("size of the component {world}");
        Goal::new(what, AtMost(most), " bytes", Some(size))
    });
    goals.into()
}

/// Returns the ratio of the component's time to another target's.
fn time_ratio(results: &Results, operation: Operation, sessions: u32, other: &str) -> Option<f64> {
    results.ratio(
        time(COMPONENT_SYNC, sessions, operation),
        time(other, sessions, operation),
    )
}

fn time(name: &str, sessions: u32, operation: Operation) -> (&str, u32, Quantity) {
    (name, sessions, Quantity::Time(operation))
}

fn validate_rate(results: &Results, callers: u32) -> Quantity {
    Quantity::Metric(Metric::ValidateRate {
        callers,
        milliseconds: results.caller_milliseconds,
    })
}

/// Writes a line for each goal.
pub fn write(out: &mut impl Write, goals: &[Goal]) -> io::Result<()> {
    writeln!(
        out,
        "{:<74} {:>18}   {:<12}  met",
        "goal", "limit", "measured"
    )?;
    for goal in goals {
        let met = match goal.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        let Goal {
            what,
            limit,
            measured,
            ..
        } = goal;
        writeln!(out, "{what:<74} {limit:>18}   {measured:<12}  {met}")?;
    }
    Ok(())
}
