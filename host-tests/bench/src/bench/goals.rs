//! The goals, each with its limit, the measured value, and whether it is met.

use std::io::{self, Write};

use clawdb_session_bench_protocol::target::{Metric, Operation};
use clawdb_session_host::COMPONENT;

use super::results::{Quantity, Results, short_count};
use super::table::three_digits;
use super::targets::{BASELINE, FRESH_COMPONENT, INSTANCES, SESSION_HOST};

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
/// each.
pub fn goals(results: &Results) -> Vec<Goal> {
    let (fewest, most) = results.session_range();
    let mut goals = validate(results);
    for &sessions in &results.session_counts {
        for operation in [Operation::Create, Operation::Refresh] {
            let what = format!(
                "{operation}, {} sessions / the original design's",
                short_count(sessions)
            );
            let ratio = time_ratio(results, operation, sessions, "original");
            goals.push(Goal::new(what, AtMost(3.0), "x", ratio));
        }
    }
    let revoke = results.ratio(
        time("component", fewest, Operation::Revoke),
        time(BASELINE, fewest, Operation::NoOp),
    );
    let what = format!("revoke, {} sessions / a no-op call", short_count(fewest));
    goals.push(Goal::new(what, AtMost(4.0), "x", revoke));
    let revoke_all = results.ratio(
        time("original", most, Operation::RevokeAllForAgent),
        time("component", most, Operation::RevokeAllForAgent),
    );
    let what = format!(
        "the original design's revoke-all of 10 among {} / ours",
        short_count(most)
    );
    goals.push(Goal::new(what, AtLeast(1_000.0), "x", revoke_all));
    let prune = results.ratio(
        time("component", most, Operation::Prune),
        time(BASELINE, most, Operation::NoOp),
    );
    let what = format!(
        "prune with nothing due, among {} / a no-op call",
        short_count(most)
    );
    goals.push(Goal::new(what, AtMost(2.0), "x", prune));
    goals.extend(growth(results));
    goals.extend(concurrency(results));
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let size = COMPONENT.len() as f64 / 1e3;
    goals.push(Goal::new(
        "size of the component",
        AtMost(180.0),
        " kB",
        Some(size),
    ));
    let start = results.median(INSTANCES, most, Quantity::Metric(Metric::StartTime));
    goals.push(Goal::new(
        "start from a precompiled component",
        AtMost(1.0),
        " ms",
        start.map(|seconds| seconds * 1e3),
    ));
    goals
}

fn validate(results: &Results) -> Vec<Goal> {
    let (fewest, most) = results.session_range();
    let operation = Operation::Validate;
    let mut goals = Vec::new();
    for (sessions, limit) in [(fewest, 1.5), (most, 1.2)] {
        let what = format!(
            "validate, {} sessions / the original design's",
            short_count(sessions)
        );
        let ratio = time_ratio(results, operation, sessions, "original");
        goals.push(Goal::new(what, AtMost(limit), "x", ratio));
    }
    for (peer, least) in [("redis", 4.0), ("claw-guard", 6.0)] {
        let ratio = results.ratio(
            time(peer, fewest, operation),
            time("component", fewest, operation),
        );
        let goal = Goal::new(
            format!(
                "validate of {peer}, {} sessions / ours",
                short_count(fewest)
            ),
            AtLeast(least),
            "x",
            ratio,
        );
        goals.push(goal.unmeasured("the peer is missing"));
    }
    let ratio = time_ratio(results, operation, fewest, BASELINE);
    let what = format!(
        "validate, {} sessions / a call that asks and returns one",
        short_count(fewest)
    );
    goals.push(Goal::new(what, AtMost(1.6), "x", ratio));
    let validate_many = results.ratio(
        time("component", fewest, Operation::ValidateMany),
        time("component", fewest, operation),
    );
    let what = format!(
        "validate-many, {} sessions, each of 64 tokens / validate",
        short_count(fewest)
    );
    goals.push(Goal::new(what, AtMost(0.5), "x", validate_many));
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
    let memory = results.median("component", most, memory);
    let what = format!("linear memory of a session, of {}", short_count(most));
    let memory = memory.map(|bytes| bytes / f64::from(most));
    goals.push(Goal::new(what, AtMost(800.0), " bytes", memory));
    let validate = Quantity::Time(Operation::Validate);
    let validate = results.ratio(
        ("component", most, validate),
        ("component", fewest, validate),
    );
    let what = format!(
        "validate, {} / {} sessions",
        short_count(most),
        short_count(fewest)
    );
    goals.push(Goal::new(what, AtMost(1.5), "x", validate));
    goals
}

/// Returns the goals about concurrent calls and many instances.
fn concurrency(results: &Results) -> Vec<Goal> {
    let (_, sessions) = results.session_range();
    let count = results.concurrency;
    let metric = |metric| results.median(INSTANCES, sessions, Quantity::Metric(metric));
    let what = format!(
        "{} concurrent creates, less the guard's 10 ms / sequential creates",
        short_count(count)
    );
    let creates = metric(Metric::ConcurrentCreates { creates: count });
    let mut goals = vec![Goal::new(what, AtMost(1.5), "x", creates)];
    let (callers, milliseconds) = (64, results.caller_milliseconds);
    let validate = Quantity::Metric(Metric::ValidateRate {
        callers,
        milliseconds,
    });
    let no_op = Quantity::Metric(Metric::NoOpRate {
        callers,
        milliseconds,
    });
    let rate = results.ratio(
        (SESSION_HOST, sessions, validate),
        (SESSION_HOST, sessions, no_op),
    );
    let what = "validates / no-op calls per second in a SessionHost, 64 callers";
    goals.push(Goal::new(
        what,
        AtLeast(40.0),
        " %",
        rate.map(|rate| rate * 100.0),
    ));
    let memory = metric(Metric::InstanceMemory { instances: count });
    let what = format!("memory of an empty instance, of {}", short_count(count));
    goals.push(Goal::new(
        what,
        AtMost(75.0),
        " KiB",
        memory.map(|bytes| bytes / 1_024.0),
    ));
    let time = metric(Metric::InstantiationTime { instances: count });
    let what = format!("time to create an instance, of {}", short_count(count));
    goals.push(Goal::new(
        what,
        AtMost(40.0),
        " us",
        time.map(|seconds| seconds * 1e6),
    ));
    goals
}

/// Returns the ratio of the component's time to another target's.
fn time_ratio(results: &Results, operation: Operation, sessions: u32, other: &str) -> Option<f64> {
    results.ratio(
        time("component", sessions, operation),
        time(other, sessions, operation),
    )
}

fn time(name: &str, sessions: u32, operation: Operation) -> (&str, u32, Quantity) {
    (name, sessions, Quantity::Time(operation))
}

/// Writes a line for each goal.
pub fn write(out: &mut impl Write, goals: &[Goal]) -> io::Result<()> {
    writeln!(
        out,
        "{:<70} {:>18}   {:<12}  met",
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
        writeln!(out, "{what:<70} {limit:>18}   {measured:<12}  {met}")?;
    }
    Ok(())
}
