//! Calls from tokio tasks: a guard that takes long stops no other task.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clawdb_session_host::{AnySessions, CallError, HostError, LocalInstance, LocalOptions};
use clawdb_session_testkit::fixture::{AGENT, request};
use futures::future::join_all;
use futures::poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{spawn, spawn_blocking};
use tokio::time::timeout;

use crate::fixture::LocalFixture;

/// Sends a byte through a connection of this runtime and back.
async fn round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let byte = connection.read_u8().await.unwrap();
        connection.write_u8(byte + 1).await.unwrap();
    });
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_u8(1).await.unwrap();
    assert_eq!(connection.read_u8().await.unwrap(), 2);
    served.await.unwrap();
}

/// Holds the guards of several instances, and checks that connections are served meanwhile.
async fn connections_are_served_while_guards_are_held() {
    let fixtures: Vec<_> = (0..4).map(|_| LocalFixture::new()).collect();
    let mut held = Vec::new();
    let mut creating = Vec::new();
    for fixture in &fixtures {
        let sessions = AnySessions::from(fixture.sessions.clone());
        let guard = fixture.guard.hold();
        creating.push(spawn(async move { sessions.create(request(AGENT)).await }));
        held.push(spawn_blocking(move || {
            guard.wait();
            guard
        }));
    }
    for _ in 0..10 {
        let served = timeout(Duration::from_secs(10), round_trip()).await;
        served.expect("a connection is served while the guard is held");
    }
    for guard in held {
        guard.await.unwrap().release();
    }
    for created in creating {
        created.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_served_on_two_workers_while_guards_are_held() {
    spawn(connections_are_served_while_guards_are_held())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_are_served_on_four_workers_while_guards_are_held() {
    spawn(connections_are_served_while_guards_are_held())
        .await
        .unwrap();
}

#[tokio::test]
async fn connections_are_served_on_the_only_thread_while_guards_are_held() {
    connections_are_served_while_guards_are_held().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_waits_for_a_slow_guard_returns_busy() {
    let fixture = LocalFixture::with(|options| LocalOptions {
        busy_after: Duration::from_millis(20),
        ..options
    });
    let guard = fixture.guard.hold();
    let sessions = AnySessions::from(fixture.sessions.clone());
    let creating = spawn({
        let sessions = sessions.clone();
        async move { sessions.create(request(AGENT)).await }
    });
    let guard = spawn_blocking(move || {
        guard.wait();
        guard
    });
    let guard = guard.await.unwrap();
    // More calls than threads that wait for an instance.
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let sessions = sessions.clone();
            spawn(async move { sessions.revoke_all_for_agent(AGENT).await })
        })
        .collect();
    for call in calls {
        let answer = call.await.unwrap();
        assert!(
            matches!(answer, Err(CallError::Host(HostError::Busy { .. }))),
            "{answer:?}"
        );
    }
    guard.release();
    creating.await.unwrap().unwrap();
    assert_eq!(sessions.active_count().await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_an_instance() {
    let fixture = LocalFixture::new();
    let sessions = AnySessions::from(fixture.sessions.clone());
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let sessions = sessions.clone();
            spawn(async move {
                let grant = sessions.create(request(AGENT)).await.unwrap();
                sessions.validate(grant.token).await.unwrap()
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().agent_id, AGENT);
    }
    assert_eq!(sessions.active_count().await, Ok(200));
    sessions.wait_until_idle().await.unwrap();
    assert!(sessions.memory() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_task_that_waits_gets_the_instance_after_a_call_that_ends_with_a_panic() {
    let sessions = LocalFixture::new().sessions;
    let (has_begun, begun) = oneshot::channel();
    let (end, ended) = mpsc::channel::<()>();
    let panics = move |_: &mut LocalInstance| {
        has_begun.send(()).unwrap();
        ended.recv().unwrap();
        panic!("a call that ends with a panic");
    };
    let first = spawn({
        let sessions = sessions.clone();
        async move { sessions.run::<()>(panics).await }
    });
    begun.await.unwrap();
    let mut second = pin!(sessions.run(LocalInstance::active_count));
    assert!(poll!(&mut second).is_pending());
    end.send(()).unwrap();
    assert_eq!(second.await.unwrap(), Ok(0));
    assert!(first.await.unwrap_err().is_panic());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn each_task_that_waits_gets_the_instance_although_others_stop_waiting() {
    let fixture = LocalFixture::new();
    let sessions = fixture.sessions.clone();
    let guard = fixture.guard.hold();
    let creating = spawn({
        let sessions = AnySessions::from(sessions.clone());
        async move { sessions.create(request(AGENT)).await }
    });
    let guard = spawn_blocking(move || {
        guard.wait();
        guard
    });
    let guard = guard.await.unwrap();
    let mut waiting: Vec<_> = (0..16)
        .map(|_| Box::pin(sessions.run(LocalInstance::active_count)))
        .collect();
    for call in &mut waiting {
        assert!(poll!(call).is_pending());
    }
    let mut at = 0;
    waiting.retain(|_| {
        at += 1;
        at % 3 == 0
    });
    guard.release();
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap(), Ok(1));
    }
    creating.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_task_that_calls_without_a_pause_does_not_hold_up_another_one() {
    let sessions = LocalFixture::new().sessions;
    let ended = Arc::new(AtomicBool::new(false));
    let calling = spawn({
        let (sessions, ended) = (sessions.clone(), Arc::clone(&ended));
        async move {
            while !ended.load(Ordering::Relaxed) {
                let count = sessions.run(LocalInstance::active_count).await;
                count.unwrap().unwrap();
            }
        }
    });
    let other = spawn(async move {
        for _ in 0..1_000 {
            let count = sessions.run(LocalInstance::active_count).await;
            count.unwrap().unwrap();
        }
    });
    let other = timeout(Duration::from_mins(1), other).await;
    ended.store(true, Ordering::Relaxed);
    other.expect("the other task gets the instance").unwrap();
    calling.await.unwrap();
}
