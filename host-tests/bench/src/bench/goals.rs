//! The goals: what each demands, what was measured, and whether it is met.

use std::io::{self, Write};

use clawdb_session_bench_protocol::target::{Figure, Operation};
use clawdb_session_host::COMPONENT;

use super::results::{Quantity, Results, short};
use super::table::digits;
use super::targets::{ANOTHER, CROWD};

/// A goal and how it went.
pub struct Goal {
    what: String,
    limit: String,
    /// What was measured, or why it was not.
    measured: String,
    /// None where it was not measured.
    met: Option<bool>,
}

/// What is better.
#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

impl Goal {
    /// A goal for one value, which is shown with this unit.
    fn new(what: impl Into<String>, limit: Limit, unit: &str, measured: Option<f64>) -> Self {
        let (words, number, met) = match limit {
            AtMost(most) => ("at most", most, measured.map(|value| value <= most)),
            AtLeast(least) => ("at least", least, measured.map(|value| value >= least)),
        };
        Self {
            what: what.into(),
            limit: format!("{words} {number}{unit}"),
            measured: measured.map_or_else(
                || "not measured".into(),
                |value| format!("{}{unit}", digits(value)),
            ),
            met,
        }
    }

    fn unmeasured(mut self, why: &str) -> Self {
        if self.met.is_none() {
            self.measured = format!("not measured: {why}");
        }
        self
    }
}

/// All goals. Where a ratio has to hold whatever the number of sessions, there is one for each.
pub fn goals(results: &Results) -> Vec<Goal> {
    let (few, many) = results.ends();
    let mut goals = validate(results);
    for &sessions in &results.sessions {
        for operation in [Operation::Create, Operation::Refresh] {
            let what = format!(
                "{operation}, {} sessions / the original design's",
                short(sessions)
            );
            let ratio = against(results, operation, sessions, "original");
            goals.push(Goal::new(what, AtMost(3.0), "x", ratio));
        }
    }
    let revoke = results.ratio(
        time("component", few, Operation::Revoke),
        time("floor", few, Operation::Nothing),
    );
    let what = format!("revoke, {} sessions / a no-op call", short(few));
    goals.push(Goal::new(what, AtMost(4.0), "x", revoke));
    let switch = results.ratio(
        time("original", many, Operation::RevokeAgent),
        time("component", many, Operation::RevokeAgent),
    );
    let what = format!(
        "the original design's revoke-all of 10 among {} / ours",
        short(many)
    );
    goals.push(Goal::new(what, AtLeast(1_000.0), "x", switch));
    let prune = results.ratio(
        time("component", many, Operation::Prune),
        time("floor", many, Operation::Nothing),
    );
    let what = format!(
        "prune with nothing due, among {} / a no-op call",
        short(many)
    );
    goals.push(Goal::new(what, AtMost(2.0), "x", prune));
    goals.extend(growth(results));
    goals.extend(crowd(results));
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let size = COMPONENT.len() as f64 / 1e3;
    goals.push(Goal::new(
        "size of the component",
        AtMost(180.0),
        " kB",
        Some(size),
    ));
    let start = results.median(CROWD, many, Quantity::Figure(Figure::Start));
    goals.push(Goal::new(
        "start: a precompiled one read and instantiated",
        AtMost(1.0),
        " ms",
        start.map(|seconds| seconds * 1e3),
    ));
    goals
}

fn validate(results: &Results) -> Vec<Goal> {
    let (few, many) = results.ends();
    let operation = Operation::Validate;
    let mut goals = Vec::new();
    for (sessions, most) in [(few, 1.5), (many, 1.2)] {
        let what = format!(
            "validate, {} sessions / the original design's",
            short(sessions)
        );
        let ratio = against(results, operation, sessions, "original");
        goals.push(Goal::new(what, AtMost(most), "x", ratio));
    }
    for (peer, least) in [("redis", 4.0), ("claw-guard", 6.0)] {
        let ratio = results.ratio(
            time(peer, few, operation),
            time("component", few, operation),
        );
        let goal = Goal::new(
            format!("validate of {peer}, {} sessions / ours", short(few)),
            AtLeast(least),
            "x",
            ratio,
        );
        goals.push(goal.unmeasured("it was not there"));
    }
    let own = against(results, operation, few, "floor");
    let what = format!(
        "validate, {} sessions / a call that asks and returns one",
        short(few)
    );
    goals.push(Goal::new(what, AtMost(1.6), "x", own));
    let many_at_once = results.ratio(
        time("component", few, Operation::ValidateMany),
        time("component", few, operation),
    );
    let what = format!(
        "validate-many, {} sessions, each of 64 tokens / validate",
        short(few)
    );
    goals.push(Goal::new(what, AtMost(0.5), "x", many_at_once));
    goals
}

/// What must not grow with the number of sessions.
fn growth(results: &Results) -> Vec<Goal> {
    let (few, many) = results.ends();
    let longest = results.median(ANOTHER, many, Quantity::LongestComputed);
    let what = format!(
        "longest create on the way from 0 to {}, computed",
        short(many)
    );
    let mut goals = vec![Goal::new(
        what,
        AtMost(1.0),
        " ms",
        longest.map(|time| time / 1e6),
    )];
    let memory = Quantity::Figure(Figure::LinearMemory);
    let memory = results.median("component", many, memory);
    let what = format!("linear memory of a session, of {}", short(many));
    let memory = memory.map(|bytes| bytes / f64::from(many));
    goals.push(Goal::new(what, AtMost(800.0), " bytes", memory));
    let validate = Quantity::Time(Operation::Validate);
    let validate = results.ratio(("component", many, validate), ("component", few, validate));
    let what = format!("validate, {} / {} sessions", short(many), short(few));
    goals.push(Goal::new(what, AtMost(1.5), "x", validate));
    goals
}

fn crowd(results: &Results) -> Vec<Goal> {
    let (_, sessions) = results.ends();
    let many = results.many;
    let figure = |figure| results.median(CROWD, sessions, Quantity::Figure(figure));
    let what = format!(
        "{} creates under way, beyond the guard's 10 ms / one by one",
        short(many)
    );
    let in_flight = figure(Figure::InFlight { creates: many });
    let mut goals = vec![Goal::new(what, AtMost(1.5), "x", in_flight)];
    let (callers, milliseconds) = (64, results.calling);
    let validate = Quantity::Figure(Figure::ValidateRate {
        callers,
        milliseconds,
    });
    let nothing = Quantity::Figure(Figure::NothingRate {
        callers,
        milliseconds,
    });
    let rate = results.ratio(
        ("channel", sessions, validate),
        ("channel", sessions, nothing),
    );
    let what = "validates / no-op calls a second through the channel, 64 callers";
    goals.push(Goal::new(
        what,
        AtLeast(40.0),
        " %",
        rate.map(|rate| rate * 100.0),
    ));
    let memory = figure(Figure::InstanceMemory { instances: many });
    let what = format!("memory of an empty instance, of {}", short(many));
    goals.push(Goal::new(
        what,
        AtMost(75.0),
        " KiB",
        memory.map(|bytes| bytes / 1_024.0),
    ));
    let made = figure(Figure::InstanceTime { instances: many });
    let what = format!("time to make an instance, of {}", short(many));
    goals.push(Goal::new(
        what,
        AtMost(40.0),
        " us",
        made.map(|time| time * 1e6),
    ));
    goals
}

/// The component's time in parts of another one's.
fn against(results: &Results, operation: Operation, sessions: u32, other: &str) -> Option<f64> {
    results.ratio(
        time("component", sessions, operation),
        time(other, sessions, operation),
    )
}

fn time(name: &str, sessions: u32, operation: Operation) -> (&str, u32, Quantity) {
    (name, sessions, Quantity::Time(operation))
}

/// A line for each.
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
