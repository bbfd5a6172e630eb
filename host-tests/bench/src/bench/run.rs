//! A run: fills the targets and measures them in turn.

use std::collections::BTreeMap;

use clawdb_session_bench_protocol::message::FillReport;
use clawdb_session_bench_protocol::process::{ProcessError, TargetProcess};
use clawdb_session_bench_protocol::target::{Metric, Operation, World};
use clawdb_session_host::full_text;
use indicatif::{ProgressBar, ProgressStyle};

use super::parameters::{CALLER_COUNTS, Parameters, WORKSPACE_COUNTS};
use super::results::{Quantity, Results, short_count};
use super::targets::{COMPONENT_SYNC, FRESH_COMPONENT, INSTANCES, Targets, max_sessions};

/// The maximum number of timed calls of an operation.
const MAX_CALLS: f64 = 20_000.0;
/// The maximum number of timed kill switches. Ten sessions are created for each.
const MAX_REVOKE_ALL_CALLS: f64 = 200.0;

struct Run<'a> {
    parameters: &'a Parameters,
    results: Results,
    running: Vec<(String, TargetProcess)>,
    /// The last measured time of a call in nanoseconds, which determines the number of calls.
    last_times: BTreeMap<(String, Operation), f64>,
    progress: ProgressBar,
}

/// Measures all targets. A target that fails is left out for the rest of the run, with a note.
pub fn run(parameters: &Parameters, targets: &Targets) -> Results {
    let names = targets.names();
    let mut run = Run {
        parameters,
        results: Results::default(),
        running: Vec::new(),
        last_times: BTreeMap::new(),
        progress: progress_bar(parameters, names.len()),
    };
    run.results
        .session_counts
        .clone_from(&parameters.session_counts);
    run.results.targets.clone_from(&names);
    run.results.concurrency = parameters.concurrency;
    run.results.caller_milliseconds =
        u32::try_from(parameters.caller_time.as_millis()).unwrap_or(u32::MAX);
    run.results.notes.extend(targets.missing.clone());
    for name in names {
        match targets.start(&name) {
            Ok(process) => run.running.push((name, process)),
            Err(error) => run.note_left_out(&name, &error),
        }
    }
    for &sessions in &parameters.session_counts {
        run.fill(sessions);
        for round in 0..parameters.rounds {
            run.operations(sessions, round);
        }
    }
    for round in 0..parameters.rounds {
        run.callers(round);
    }
    // The next targets need the whole machine.
    run.running.clear();
    for round in 0..parameters.rounds {
        run.growth(targets, round);
        run.instances(targets, round);
    }
    run.progress.finish_and_clear();
    run.results
}

fn progress_bar(parameters: &Parameters, targets: usize) -> ProgressBar {
    let operations =
        u64::try_from(targets * (Operation::ALL.len() * parameters.session_counts.len() + 1));
    let rounds = operations.unwrap_or(u64::MAX).saturating_add(2) * u64::from(parameters.rounds);
    let fills = u64::try_from(targets * parameters.session_counts.len()).unwrap_or(u64::MAX);
    let style = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg:<36} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(rounds.saturating_add(fills)).with_style(style)
}

/// Converts a report to values of the results.
fn longest_creates(report: &FillReport) -> [(Quantity, f64); 2] {
    #[expect(clippy::cast_precision_loss, reason = "a measurement")]
    let (longest, longest_cpu) = (
        report.longest_create as f64,
        report.longest_create_cpu as f64,
    );
    [
        (Quantity::LongestCreate, longest),
        (Quantity::LongestCreateCpu, longest_cpu),
    ]
}

impl Run<'_> {
    /// Adds a note about a target that is left out for the rest of the run.
    fn note_left_out(&mut self, name: &str, error: &ProcessError) {
        let note = format!("{name} is left out from here on: {}", full_text(error));
        self.results.notes.push(note);
    }

    /// Adds a note about a round in which a target failed that is started anew in each round.
    fn note_failed_round(&mut self, name: &str, error: &ProcessError) {
        let note = format!("{name} failed in a round: {}", full_text(error));
        self.results.notes.push(note);
    }

    /// Measures each target in turn and leaves out those that fail.
    fn for_each_target(
        &mut self,
        mut measure: impl FnMut(&mut Self, &str, &mut TargetProcess) -> Result<(), ProcessError>,
    ) {
        for (name, mut process) in std::mem::take(&mut self.running) {
            match measure(self, &name, &mut process) {
                Ok(()) => self.running.push((name, process)),
                Err(error) => self.note_left_out(&name, &error),
            }
            self.progress.inc(1);
        }
    }

    /// Fills the targets to this number of sessions.
    fn fill(&mut self, sessions: u32) {
        self.for_each_target(|run, name, process| {
            if sessions > max_sessions(name) {
                return Ok(());
            }
            run.progress
                .set_message(format!("{name}: to {} sessions", short_count(sessions)));
            run.progress.tick();
            for (quantity, value) in process.fill(sessions)?.iter().flat_map(longest_creates) {
                run.results.add(name, sessions, quantity, 0, value);
            }
            for metric in [Metric::Memory, Metric::LinearMemory] {
                if let Some(value) = process.metric(metric)? {
                    run.results
                        .add(name, sessions, Quantity::Metric(metric), 0, value);
                }
            }
            Ok(())
        });
    }

    /// Times one operation after the other, each on all targets in turn.
    fn operations(&mut self, sessions: u32, round: u32) {
        for operation in Operation::ALL {
            self.progress.set_message(format!(
                "{} sessions, round {}: {operation}",
                short_count(sessions),
                round + 1
            ));
            self.for_each_target(|run, name, process| {
                if sessions > max_sessions(name) {
                    return Ok(());
                }
                let Some(took) = run.time(name, process, operation)? else {
                    return Ok(());
                };
                run.results
                    .add(name, sessions, Quantity::Time(operation), round, took);
                Ok(())
            });
            // The next operation begins with another target, so that no target is always first.
            if !self.running.is_empty() {
                self.running.rotate_left(1);
            }
        }
    }

    /// Returns the time of a call. The number of calls is chosen to take the time of an operation.
    fn time(
        &mut self,
        name: &str,
        process: &mut TargetProcess,
        operation: Operation,
    ) -> Result<Option<f64>, ProcessError> {
        let key = (name.to_owned(), operation);
        let Some(expected) = (match self.last_times.get(&key) {
            Some(&last) => Some(last),
            None => process.time(operation, 1)?,
        }) else {
            return Ok(None);
        };
        let max_calls = match operation {
            Operation::RevokeAllForAgent => MAX_REVOKE_ALL_CALLS,
            _ => MAX_CALLS,
        };
        let time = self.parameters.operation_time.as_secs_f64() * 1e9;
        let calls = (time / expected.max(1.0)).clamp(1.0, max_calls);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped"
        )]
        let took = process.time(operation, calls as u32)?;
        if let Some(took) = took {
            self.last_times.insert(key, took);
        }
        Ok(took)
    }

    /// Measures the calls per second of concurrent callers, and of several workspaces.
    fn callers(&mut self, round: u32) {
        let milliseconds = self.results.caller_milliseconds;
        let (_, sessions) = self.results.session_range();
        self.progress
            .set_message(format!("callers, round {}", round + 1));
        self.for_each_target(|run, name, process| {
            let by_callers = CALLER_COUNTS.into_iter().flat_map(|callers| {
                [
                    Metric::NoOpRate {
                        callers,
                        milliseconds,
                    },
                    Metric::ValidateRate {
                        callers,
                        milliseconds,
                    },
                ]
            });
            let by_workspaces = WORKSPACE_COUNTS.map(|workspaces| Metric::WorkspaceRate {
                workspaces,
                milliseconds,
            });
            for metric in by_callers.chain(by_workspaces) {
                if let Some(rate) = process.metric(metric)? {
                    run.results
                        .add(name, sessions, Quantity::Metric(metric), round, rate);
                }
            }
            Ok(())
        });
    }

    /// Fills a new component from zero sessions to the highest number.
    fn growth(&mut self, targets: &Targets, round: u32) {
        let (_, sessions) = self.results.session_range();
        let message = format!("{FRESH_COMPONENT}, round {}", round + 1);
        self.progress.set_message(message);
        self.progress.inc(1);
        let process = targets.start(COMPONENT_SYNC);
        match process.and_then(|mut process| process.fill(sessions)) {
            Ok(report) => {
                for (quantity, value) in report.iter().flat_map(longest_creates) {
                    self.results
                        .add(FRESH_COMPONENT, sessions, quantity, round, value);
                }
            }
            Err(error) => self.note_failed_round(FRESH_COMPONENT, &error),
        }
    }

    /// Measures instances of both worlds. Each world has a new process in each round, because a
    /// process reuses memory and the growth would be too small.
    fn instances(&mut self, targets: &Targets, round: u32) {
        self.progress
            .set_message(format!("{INSTANCES}, round {}", round + 1));
        self.progress.inc(1);
        let count = self.parameters.concurrency;
        for world in World::ALL {
            let mut metrics = vec![
                Metric::StartTime { world },
                Metric::CachedStartTime { world },
                Metric::InstantiationTime {
                    world,
                    instances: count,
                },
                Metric::InstanceMemory {
                    world,
                    instances: count,
                },
            ];
            // In the other world no calls overlap.
            if world == World::Session {
                metrics.push(Metric::ConcurrentCreates { creates: count });
            }
            if let Err(error) = self.measure_instances(targets, round, &metrics) {
                self.note_failed_round(INSTANCES, &error);
            }
        }
    }

    fn measure_instances(
        &mut self,
        targets: &Targets,
        round: u32,
        metrics: &[Metric],
    ) -> Result<(), ProcessError> {
        let (_, sessions) = self.results.session_range();
        let mut process = targets.start(INSTANCES)?;
        for &metric in metrics {
            if let Some(value) = process.metric(metric)? {
                let quantity = Quantity::Metric(metric);
                self.results
                    .add(INSTANCES, sessions, quantity, round, value);
            }
        }
        Ok(())
    }
}
