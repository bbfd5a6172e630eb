//! Runs calls of the component's core that overlap, in every order in which the guard's answers can
//! arrive, and compares each outcome with those of the sequential orders of the same calls.
//!
//! | module | contents |
//! |---|---|
//! | `case` | states of a manager, calls, and what goes wrong |
//! | `calls` | the calls, and the sessions that exist before them |
//! | `ports` | a guard whose answers arrive when the schedule says so, a clock, random bytes |
//! | `step` | a step of a schedule |
//! | `run` | one run of a case, step by step |
//! | `checks` | the checks of the rules after each step |
//! | `schedule` | the enumeration of schedules, without those that differ by independent steps |
//! | `outcome` | what is compared |
//! | `oracle` | the outcomes that the contract allows |
//! | `report` | runs many cases, and counts |

mod calls;
mod case;
mod checks;
mod oracle;
mod outcome;
mod ports;
mod report;
mod run;
mod schedule;
mod step;

pub use case::{Call, Case, Fault, Planted, State, Target, cases};
pub use oracle::Reason;
pub use outcome::{Answer, Outcome, SessionState};
pub use ports::Timing;
pub use report::{Finding, Report, check, compare_reduction};
pub use run::Violation;
pub use schedule::{Count, Scope};
pub use step::Step;
