//! The run: fills the contestants, and measures them in turn.

use std::collections::BTreeMap;

use clawdb_session_bench_protocol::message::Filled;
use clawdb_session_bench_protocol::process::{Process, ProcessError};
use clawdb_session_bench_protocol::target::{Figure, Operation};
use indicatif::{ProgressBar, ProgressStyle};

use super::parameters::{CALLERS, Extent};
use super::results::{Quantity, Results, short};
use super::targets::{ANOTHER, CROWD, Contestants, most_sessions};

/// How many calls of an operation are timed at most.
const MOST_CALLS: f64 = 20_000.0;
/// How many kill switches: each ends ten sessions that are made for it.
const MOST_SWITCHES: f64 = 200.0;

struct Run<'a> {
    extent: &'a Extent,
    results: Results,
    running: Vec<(String, Process)>,
    /// What a call took the last time, to know how many to ask for.
    last: BTreeMap<(String, Operation), f64>,
    bar: ProgressBar,
}

/// Measures everything. One that fails is left out from then on, and there is a note of it.
pub fn run(extent: &Extent, contestants: &Contestants) -> Results {
    let names = contestants.names();
    let mut run = Run {
        extent,
        results: Results::default(),
        running: Vec::new(),
        last: BTreeMap::new(),
        bar: bar(extent, names.len()),
    };
    run.results.sessions.clone_from(&extent.sessions);
    run.results.contestants.clone_from(&names);
    run.results.many = extent.many;
    run.results.calling = u32::try_from(extent.calling.as_millis()).unwrap_or(u32::MAX);
    run.results.notes.extend(contestants.missing.clone());
    for name in names {
        match contestants.start(&name) {
            Ok(process) => run.running.push((name, process)),
            Err(error) => run.note(&name, &error),
        }
    }
    for &sessions in &extent.sessions {
        run.fill(sessions);
        for round in 0..extent.rounds {
            run.round(sessions, round);
        }
    }
    for round in 0..extent.rounds {
        run.callers(round);
    }
    // Memory and cores are free for them then.
    run.running.clear();
    for round in 0..extent.rounds {
        run.growth(contestants, round);
        run.crowd(contestants, round);
    }
    run.bar.finish_and_clear();
    run.results
}

fn bar(extent: &Extent, contestants: usize) -> ProgressBar {
    let operations =
        u64::try_from(contestants * (Operation::ALL.len() * extent.sessions.len() + 1));
    let rounds = operations.unwrap_or(u64::MAX).saturating_add(2) * u64::from(extent.rounds);
    let fills = u64::try_from(contestants * extent.sessions.len()).unwrap_or(u64::MAX);
    let style = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg:<36} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(rounds.saturating_add(fills)).with_style(style)
}

/// What is kept of how sessions were made.
fn longest(filled: &Filled) -> [(Quantity, f64); 2] {
    #[expect(clippy::cast_precision_loss, reason = "a measurement")]
    let (longest, computed) = (filled.longest as f64, filled.longest_computed as f64);
    [
        (Quantity::Longest, longest),
        (Quantity::LongestComputed, computed),
    ]
}

impl Run<'_> {
    fn note(&mut self, name: &str, error: &ProcessError) {
        let note = format!("{name} is left out from here on: {error}");
        self.results.notes.push(note);
    }

    /// Of one that is started anew in each round.
    fn note_of_round(&mut self, name: &str, error: &ProcessError) {
        let note = format!("{name} gave nothing in a round: {error}");
        self.results.notes.push(note);
    }

    /// Asks everybody in turn, and leaves out who cannot answer.
    fn ask_all(
        &mut self,
        mut ask: impl FnMut(&mut Self, &str, &mut Process) -> Result<(), ProcessError>,
    ) {
        for (name, mut process) in std::mem::take(&mut self.running) {
            match ask(self, &name, &mut process) {
                Ok(()) => self.running.push((name, process)),
                Err(error) => self.note(&name, &error),
            }
            self.bar.inc(1);
        }
    }

    fn fill(&mut self, sessions: u32) {
        self.ask_all(|run, name, process| {
            if sessions > most_sessions(name) {
                return Ok(());
            }
            run.bar
                .set_message(format!("{name}: to {} sessions", short(sessions)));
            run.bar.tick();
            for (quantity, value) in process.fill(sessions)?.iter().flat_map(longest) {
                run.results.add(name, sessions, quantity, 0, value);
            }
            for figure in [Figure::Memory, Figure::LinearMemory] {
                if let Some(value) = process.figure(figure)? {
                    run.results
                        .add(name, sessions, Quantity::Figure(figure), 0, value);
                }
            }
            Ok(())
        });
    }

    /// One operation after the other, each by everybody in turn.
    fn round(&mut self, sessions: u32, round: u32) {
        for operation in Operation::ALL {
            self.bar.set_message(format!(
                "{} sessions, round {}: {operation}",
                short(sessions),
                round + 1
            ));
            self.ask_all(|run, name, process| {
                if sessions > most_sessions(name) {
                    return Ok(());
                }
                let Some(took) = run.time(name, process, operation)? else {
                    return Ok(());
                };
                run.results
                    .add(name, sessions, Quantity::Time(operation), round, took);
                Ok(())
            });
            // Not everybody goes first or after the same one in every round.
            if !self.running.is_empty() {
                self.running.rotate_left(1);
            }
        }
    }

    fn time(
        &mut self,
        name: &str,
        process: &mut Process,
        operation: Operation,
    ) -> Result<Option<f64>, ProcessError> {
        let key = (name.to_owned(), operation);
        let first = self.last.get(&key).copied();
        let Some(expected) = (match first {
            Some(last) => Some(last),
            None => process.time(operation, 1)?,
        }) else {
            return Ok(None);
        };
        let most = match operation {
            Operation::RevokeAgent => MOST_SWITCHES,
            _ => MOST_CALLS,
        };
        let calls = (self.extent.time.as_secs_f64() * 1e9 / expected.max(1.0)).clamp(1.0, most);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped"
        )]
        let took = process.time(operation, calls as u32)?;
        if let Some(took) = took {
            self.last.insert(key, took);
        }
        Ok(took)
    }

    fn callers(&mut self, round: u32) {
        let milliseconds = self.results.calling;
        let (_, sessions) = self.results.ends();
        self.bar
            .set_message(format!("callers, round {}", round + 1));
        self.ask_all(|run, name, process| {
            for callers in CALLERS {
                for figure in [
                    Figure::NothingRate {
                        callers,
                        milliseconds,
                    },
                    Figure::ValidateRate {
                        callers,
                        milliseconds,
                    },
                ] {
                    if let Some(rate) = process.figure(figure)? {
                        run.results
                            .add(name, sessions, Quantity::Figure(figure), round, rate);
                    }
                }
            }
            Ok(())
        });
    }

    /// Another component goes from no sessions to the most.
    fn growth(&mut self, contestants: &Contestants, round: u32) {
        let (_, sessions) = self.results.ends();
        let message = format!("{ANOTHER}, round {}", round + 1);
        self.bar.set_message(message);
        self.bar.inc(1);
        let process = contestants.start("component");
        match process.and_then(|mut process| process.fill(sessions)) {
            Ok(filled) => {
                for (quantity, value) in filled.iter().flat_map(longest) {
                    self.results.add(ANOTHER, sessions, quantity, round, value);
                }
            }
            Err(error) => self.note_of_round(ANOTHER, &error),
        }
    }

    /// Has a process of its own in each round: memory that was used once is not taken again.
    fn crowd(&mut self, contestants: &Contestants, round: u32) {
        self.bar
            .set_message(format!("many at a time, round {}", round + 1));
        self.bar.inc(1);
        let many = self.extent.many;
        let (_, sessions) = self.results.ends();
        let measured = contestants.start(CROWD).and_then(|mut process| {
            for figure in [
                Figure::Start,
                Figure::InFlight { creates: many },
                Figure::InstanceTime { instances: many },
                Figure::InstanceMemory { instances: many },
            ] {
                if let Some(value) = process.figure(figure)? {
                    self.results
                        .add(CROWD, sessions, Quantity::Figure(figure), round, value);
                }
            }
            Ok(())
        });
        if let Err(error) = measured {
            self.note_of_round(CROWD, &error);
        }
    }
}
