//! The calls that are not async, on threads of each kind.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use clawdb_session_host::{
    GuardError, HostError, HostOptions, LocalEngine, LocalOptions, LocalSessions, SessionHost,
    World, full_text,
};
use clawdb_session_manager::{ClawDBError, NoOwnThread, SessionManager};
use clawdb_session_testkit::fixture::{PlainGuard, engine};
use clawdb_session_testkit::{LocalTestGuard, block_on};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use uuid::Uuid;

use crate::fixture::{Fixture, WORLDS, agent};

/// Makes all calls that are not async. The manager has one session with this id.
fn make_plain_calls(manager: &SessionManager, id: Uuid) {
    assert_eq!(manager.get_session(id).unwrap().session_id, id);
    manager.invalidate(Uuid::new_v4());
    assert_eq!(manager.prune_expired(), 0);
    assert_eq!(manager.active_count(), 1);
}

fn runtime(workers: Option<usize>) -> Runtime {
    let mut builder = match workers {
        None => Builder::new_current_thread(),
        Some(workers) => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.enable_all().build().unwrap()
}

#[test]
fn plain_calls_need_no_runtime() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let session = runtime(None).block_on(fixture.session(agent()));
        make_plain_calls(&fixture.manager, session.id);
        let manager = fixture.manager.clone();
        let other_thread = thread::spawn(move || make_plain_calls(&manager, session.id));
        other_thread.join().unwrap();
    }
}

#[test]
fn plain_calls_work_in_tasks_of_each_flavour() {
    for world in WORLDS {
        for workers in [None, Some(1), Some(2)] {
            runtime(workers).block_on(async {
                let fixture = Fixture::new(world);
                let session = fixture.session(agent()).await;
                // In the future that the runtime blocks on, in a task, and in a local task.
                make_plain_calls(&fixture.manager, session.id);
                let manager = fixture.manager.clone();
                let task = tokio::spawn(async move { make_plain_calls(&manager, session.id) });
                task.await.unwrap();
                let manager = fixture.manager.clone();
                let local = LocalSet::new();
                local.spawn_local(async move { make_plain_calls(&manager, session.id) });
                local.await;
                make_plain_calls(&fixture.manager, session.id);
            });
        }
    }
}

#[test]
fn all_calls_of_the_world_session_work_in_an_executor_other_than_tokio() {
    let fixture = Fixture::new(World::Session);
    block_on(async {
        let session = fixture.session(agent()).await;
        make_plain_calls(&fixture.manager, session.id);
    });
}

#[test]
fn a_task_can_make_any_number_of_plain_calls_without_a_pause() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        runtime(None).block_on(async {
            let session = fixture.session(agent()).await;
            // More than the budget of a task in tokio.
            for _ in 0..1_000 {
                fixture.manager.get_session(session.id).unwrap();
            }
        });
    }
}

#[test]
fn plain_calls_work_when_each_worker_of_a_runtime_makes_one() {
    const WORKERS: usize = 2;
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let runtime = runtime(Some(WORKERS));
        let session = runtime.block_on(fixture.session(agent()));
        let all_workers = Arc::new(Barrier::new(WORKERS));
        let tasks: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (manager, all_workers) = (fixture.manager.clone(), all_workers.clone());
                runtime.spawn(async move {
                    all_workers.wait();
                    for _ in 0..200 {
                        make_plain_calls(&manager, session.id);
                    }
                })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
    }
}

#[test]
fn async_and_plain_calls_of_many_tasks_overlap() {
    for world in WORLDS {
        let fixture = Fixture::new(world);
        let runtime = runtime(Some(2));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let manager = fixture.manager.clone();
                runtime.spawn(async move {
                    for _ in 0..10 {
                        let created = manager.create(agent(), "worker", vec![], None).await;
                        let session = created.unwrap();
                        let read = manager.get_session(session.id).unwrap();
                        assert_eq!(read.agent_id, session.agent_id);
                        manager.validate(&session.guard_token).await.unwrap();
                        manager.invalidate(session.id);
                        assert_eq!(
                            manager.get_session(session.id).unwrap_err(),
                            ClawDBError::SessionNotFound(session.id)
                        );
                        assert!(manager.active_count() < 16);
                    }
                })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!(fixture.manager.active_count(), 0);
    }
}

#[test]
fn a_host_that_a_runtime_drives_is_refused() {
    for workers in [None, Some(2)] {
        runtime(workers).block_on(async {
            let options = HostOptions::new(PlainGuard::default());
            let host = SessionHost::start(engine(), options).await.unwrap();
            let Err(refused) = SessionManager::new(host) else {
                panic!("the manager must be refused");
            };
            let refused: NoOwnThread = refused;
            assert!(refused.to_string().contains("start_on_own_thread"));
        });
    }
}

#[test]
fn a_start_on_an_own_thread_reports_an_option_outside_its_bounds() {
    let options = HostOptions {
        max_in_flight: 0,
        ..HostOptions::new(PlainGuard::default())
    };
    let Err(error) = SessionHost::start_on_own_thread(engine(), options) else {
        panic!("the option must be refused");
    };
    assert_eq!(
        full_text(&error),
        "the component could not be started: max_in_flight (0) must be at least 1"
    );
}

/// Starts an instance whose guard does this before it validates the first token.
fn with_interlude(
    world: World,
    busy_after: Duration,
    interlude: impl FnOnce(&SessionManager) + Send + 'static,
) -> SessionManager {
    let this = Arc::new(OnceLock::<SessionManager>::new());
    let manager = this.clone();
    let guard = LocalTestGuard::default();
    // It issues the token first.
    guard.before(|| Ok(()));
    guard.before(move || {
        interlude(manager.get().unwrap());
        Ok(())
    });
    let manager = if world == World::SessionSync {
        let options = LocalOptions {
            busy_after,
            ..LocalOptions::new(guard)
        };
        let engine = LocalEngine::new().unwrap();
        SessionManager::new(LocalSessions::start(&engine, options).unwrap())
    } else {
        let options = HostOptions::new(guard);
        SessionManager::new(SessionHost::start_on_own_thread(engine(), options).unwrap())
    };
    this.get_or_init(|| manager.unwrap()).clone()
}

#[test]
fn get_session_returns_an_error_in_a_function_of_the_guard() {
    for world in WORLDS {
        let (report, reported) = channel();
        let manager = with_interlude(world, Duration::from_secs(5), move |manager| {
            report.send(manager.get_session(Uuid::nil())).unwrap();
        });
        runtime(Some(2)).block_on(async {
            let created = manager.create(agent(), "worker", vec![], None).await;
            manager
                .validate(&created.unwrap().guard_token)
                .await
                .unwrap();
        });
        let error = reported.recv().unwrap().unwrap_err();
        assert_eq!(error, ClawDBError::Host(HostError::Reentrant));
    }
}

#[test]
fn the_other_plain_calls_panic_in_a_function_of_the_guard_and_the_instance_goes_on() {
    let calls: [fn(&SessionManager); 3] = [
        |manager| manager.invalidate(Uuid::nil()),
        |manager| assert_eq!(manager.active_count(), 0),
        |manager| assert_eq!(manager.prune_expired(), 0),
    ];
    for world in WORLDS {
        for call in calls {
            let manager = with_interlude(world, Duration::from_secs(5), call);
            runtime(Some(2)).block_on(async {
                let created = manager.create(agent(), "worker", vec![], None).await;
                let session = created.unwrap();
                let refused = manager.validate(&session.guard_token).await;
                assert!(matches!(
                    refused.unwrap_err(),
                    ClawDBError::Guard(GuardError::Unavailable(_))
                ));
                manager.validate(&session.guard_token).await.unwrap();
                make_plain_calls(&manager, session.id);
            });
        }
    }
}

#[test]
fn plain_calls_wait_for_a_guard_that_takes_longer_than_the_busy_time() {
    let (entered, entering): (Sender<()>, Receiver<()>) = channel();
    let (release, released) = channel::<()>();
    let busy_after = Duration::from_millis(1);
    let manager = with_interlude(World::SessionSync, busy_after, move |_| {
        entered.send(()).unwrap();
        released.recv().unwrap();
    });
    let runtime = runtime(Some(2));
    let created = runtime.block_on(manager.create(agent(), "worker", vec![], None));
    let session = created.unwrap();
    let token = session.guard_token.clone();
    let validating = manager.clone();
    let validate = runtime.spawn(async move { validating.validate(&token).await });
    entering.recv().unwrap();

    // A call with an error says that the instance is busy.
    let busy = manager.get_session(session.id).unwrap_err();
    assert!(matches!(busy, ClawDBError::Host(HostError::Busy { .. })));
    // A call without an error takes effect when the guard has answered.
    let invalidating = manager.clone();
    let invalidate = thread::spawn(move || invalidating.invalidate(session.id));
    let counting = manager.clone();
    let count = thread::spawn(move || counting.active_count());
    release.send(()).unwrap();
    invalidate.join().unwrap();
    assert!(count.join().unwrap() <= 1);
    // The session ends before or after the guard's answer is used.
    let _ = runtime.block_on(validate).unwrap();
    assert_eq!(
        manager.get_session(session.id).unwrap_err(),
        ClawDBError::SessionNotFound(session.id)
    );
}
