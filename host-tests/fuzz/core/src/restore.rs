//! Records that a manager has written, some of them changed, which others restore.

use std::collections::BTreeSet;

use clawdb_session::{
    Change, Config, Error, Limit, RecordKeys, Session, SessionId, Statistics, Token,
};

use crate::content;
use crate::mutation::mutate;
use crate::ports::{Ports, Randomness, Verdict};
use crate::records::{Records, STATE_KEY};
use crate::script::Script;
use crate::world::{Manager, Stopped, World, agents, config, live, now, start};

/// Runs operations, restores what a host has stored of them, and goes on with the restored manager.
///
/// # Panics
/// If the core breaks a promise.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let ports = Ports::new();
    let source_config = config(&mut script, true);
    let source = start(&source_config, &ports);
    let mut world = World::new(&source, &ports, true);
    world.run(&mut script, true);
    let stopped = world.stop(&mut script);
    ports.answer_at_once(Some(Verdict(0)));
    ports.set_randomness(Randomness::Fresh);
    ports.set_clock(Some(stopped.now.as_millis()));

    let keys = RecordKeys::new(&STATE_KEY, &[]).unwrap();
    let forgets = script.flag();
    let mut changes = stopped
        .records
        .needed(forgets.then_some(stopped.now), &mut script);
    let is_changed = script.flag();
    if is_changed && !changes.is_empty() {
        let others = changes.clone();
        for _ in 0..=script.below(6) {
            let index = script.below(changes.len().min(256));
            mutate(&mut changes[index], &others, &keys, &mut script);
        }
    }

    let has_same_config = !script.byte().is_multiple_of(4);
    let mut restored_config = if has_same_config {
        source_config.clone()
    } else {
        config(&mut script, true)
    };
    if script.flag() {
        restored_config.state_key = Some(vec![6; 32]);
        restored_config.previous_state_keys = vec![STATE_KEY.to_vec()];
    }
    let restored = start(&restored_config, &ports);
    let mut agents = agents();
    agents.extend(changes.iter().filter_map(content::agent));
    agents.sort_unstable();
    agents.dedup();
    // A guard that repeats a handle, and records that no instance has written, can give two
    // sessions the same handle or token.
    let is_distinct = content::are_distinct(&changes);
    let live = |manager: &Manager| live(manager, &agents, 100);
    let Some(ended) = restore(&restored, &changes, is_changed, is_distinct, &mut script) else {
        return;
    };
    let sessions = live(&restored);
    for session in &sessions {
        assert!(
            !ended.contains(&session.id),
            "a session is live after its end (R12)"
        );
    }
    if !is_changed && has_same_config {
        check_same(&restored, &sessions, &stopped, &source_config, &ports);
    }
    if is_distinct {
        // A host that drops what is not needed relies on what the records say.
        let forgets = forgets && !is_changed;
        let again = restore_again(&restored, &restored_config, &ports, forgets, &mut script);
        if let Some(again) = again {
            assert_eq!(
                live(&again),
                sessions,
                "sessions are written differently (R23)"
            );
        }
    }

    // Sessions that restored cut-offs revoke are counted until they are ended.
    restored.prune_expired(None);
    assert_eq!(live(&restored), sessions);
    let before = Some(&stopped).filter(|_| !is_changed);
    let mut world = World::after_restore(&restored, &ports, &agents, before);
    world.is_consistent = is_distinct;
    world.run(&mut script, false);
    world.end();
}

/// Restores records in pages. Returns the sessions whose end was restored, or `None` if the script
/// has ended the restore too early.
fn restore(
    manager: &Manager,
    changes: &[Change],
    is_changed: bool,
    is_distinct: bool,
    script: &mut Script<'_>,
) -> Option<BTreeSet<SessionId>> {
    let mut ended = BTreeSet::new();
    let size = 1 + script.below(40);
    for page in changes.chunks(size) {
        for _ in 0..=usize::from(script.byte() >= 192) {
            let before = manager.stats();
            // A manager draws the seed of its tables and its run of events before the first record.
            let is_same = |after: Statistics| {
                let event_run = after.event_run;
                Statistics {
                    event_run,
                    ..before
                } == after
            };
            match manager.restore(page) {
                Ok(()) => ended.extend(page.iter().filter_map(content::ended)),
                Err(Error::RefusedRecord(refused)) => {
                    assert!(is_changed, "a record was refused: {refused}");
                    assert!(
                        is_same(manager.stats()),
                        "a refused page has changed something"
                    );
                }
                Err(error) => {
                    assert!(is_changed && error == Error::LimitReached(Limit::StateBytes));
                }
            }
            if is_distinct {
                assert_eq!(manager.check_invariants(false), Ok(()));
            }
        }
        if script.byte() >= 224 {
            let last = manager.stats().last_change;
            manager.changes(0, 1 + u32::from(script.byte())).unwrap();
            // Records that are written again end the restore.
            if manager.stats().last_change != last {
                assert_eq!(manager.restore(page), Err(Error::AlreadyStarted));
                return None;
            }
        }
    }
    Some(ended)
}

/// Checks that the restored sessions are those that were live, with the same tokens.
fn check_same(
    restored: &Manager,
    sessions: &[Session],
    stopped: &Stopped,
    config: &Config,
    ports: &Ports,
) {
    let find = |sessions: &[Session], id| sessions.iter().find(|it| it.id == id).cloned();
    for session in sessions {
        assert!(
            !stopped.model.has_ended(session.id),
            "a session is live after its end (R12)"
        );
        let before = find(&stopped.live, session.id);
        assert_eq!(
            before.as_ref(),
            Some(session),
            "a session was restored differently (R23)"
        );
    }
    // A use is recorded a tenth of the idle timeout after the one before, at the earliest (R28).
    if config.idle_timeout.is_some() {
        return;
    }
    assert_eq!(
        sessions.len(),
        stopped.live.len(),
        "a session was not restored (R23)"
    );
    for issued in ports.issued().iter().filter(|issued| issued.is_usable) {
        // The guard knows a token that it has issued twice by its last handle.
        if ports.is_repeated(&issued.token) {
            continue;
        }
        let Some((id, generation)) = stopped.model.granted(&issued.token) else {
            continue;
        };
        let session = find(sessions, id).filter(|it| it.generation == generation);
        let token = Token::parse(issued.token.clone()).unwrap();
        if session.is_some_and(|session| session.uses_left.is_none()) {
            // This is an operation on sessions, so the records must all be restored.
            let used = now(restored.validate(token)).map(|session| session.id);
            assert_eq!(
                used,
                Ok(id),
                "the token of a restored session is not valid (R23)"
            );
        }
    }
}

/// Returns a manager that has restored what the restored manager writes; `None` if the script has
/// ended the restore too early.
fn restore_again(
    restored: &Manager,
    config: &Config,
    ports: &Ports,
    forgets: bool,
    script: &mut Script<'_>,
) -> Option<Manager> {
    let mut records = Records::default();
    records.read(restored, 1 + u32::from(script.byte()));
    let changes = records.needed(forgets.then_some(restored.stats().now), script);
    let again = start(config, ports);
    restore(&again, &changes, false, true, script)?;
    Some(again)
}
