//! A host that is killed at any moment loses nothing that it has acknowledged.
//!
//! A child process is given work and killed with SIGKILL, again and again; after each restart all that
//! was acknowledged before is still true. `SESSION_CRASH_KILLS` sets how often each test does that,
//! `SESSION_CRASH_SEED` plays the random choices of a run again (not its moments).

mod exec;
mod ledger;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use exec::Talk;
use ledger::{Ledger, Random};

/// How often each test kills.
fn kills_wanted() -> u32 {
    let wanted = std::env::var("SESSION_CRASH_KILLS").ok();
    wanted.map_or(100, |kills| kills.parse().expect("a number of kills"))
}

/// The command line, with keys that outlive it.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawdb-session"));
    command
        .args(args)
        .env("CLAWDB_SESSION_STATE_KEY", "07".repeat(32))
        .env(
            "CLAW_GUARD_JWT_SECRET",
            "a secret of the crash tests, long enough",
        )
        .env_remove("CLAWDB_SESSION_PREVIOUS_STATE_KEYS");
    command
}

/// Kills a conversation again and again.
fn kill_conversations(arguments: &[&str]) {
    let mut random = Random::new();
    let mut ledger = Ledger::default();
    let arguments = [&["exec"], arguments].concat();
    let begun = Instant::now();
    for kill in 0..kills_wanted() {
        let mut talk = Talk::start(&arguments);
        // Now and then it is killed while it starts or restores.
        let starting = random.below(8) == 0;
        let patience = Duration::from_millis(if starting {
            random.below(900)
        } else {
            random.below(250)
        });
        if !starting {
            talk.wait_until_ready();
            ledger.check(&mut talk, &mut random, kill % 20 == 0);
        }
        talk.kill_after(patience);
        ledger.work(&mut talk, &mut random);
        talk.end();
    }
    let mut talk = Talk::start(&arguments);
    talk.wait_until_ready();
    ledger.check(&mut talk, &mut random, true);
    println!(
        "{} kills survived in {:.0?}: {}",
        kills_wanted(),
        begun.elapsed(),
        ledger.figures()
    );
    assert!(
        ledger.acknowledged() > u64::from(kills_wanted()),
        "hardly anything was done"
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[test]
fn nothing_acknowledged_is_lost_when_a_conversation_over_redb_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    kill_conversations(&["--journal", text(&folder.path().join("sessions"))]);
}
