//! Two services on one journal. A service that is paused for longer than its lease loses the
//! sessions, and does not notice it before it resumes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawdb_session_testkit::nats_server::NatsServer;
use futures::future::join_all;
use nix::sys::signal::Signal;
use reqwest::StatusCode;

use crate::acknowledged::{AcknowledgedSession, Random, State, WorkCounts};
use crate::http::{self, Service};

fn arguments(url: &str) -> Vec<&str> {
    vec![
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--nats",
        url,
        "--single",
        "--lease",
        "0.5",
    ]
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn a_service_that_was_paused_and_lost_the_sessions_refuses_calls_until_it_owns_them_again() {
    let server = NatsServer::start().await;
    let url = server.url();
    let (mut random, mut counts) = (Random::new(), WorkCounts::default());
    let first = Service::start(&arguments(&url));
    first.wait_until_ready().await;
    let second = Service::start(&arguments(&url));
    let mut sessions: Vec<AcknowledgedSession> = Vec::new();
    for _ in 0..3 {
        let made = http::create(&first, &mut sessions, &mut random, &mut counts).await;
        made.expect("the session is created");
    }
    assert!(
        !second.is_ready().await,
        "the first service owns the sessions"
    );

    first.process.signal(Signal::SIGSTOP);
    second.wait_until_ready().await;
    assert_eq!(http::check(&second, sessions.iter_mut()).await, 3);
    let [revoked, refreshed, _] = sessions.as_mut_slice() else {
        unreachable!("there are three sessions");
    };
    http::revoke(&second, revoked, &mut counts)
        .await
        .expect("the session is revoked");
    http::refresh(&second, refreshed, &mut counts)
        .await
        .expect("the session is refreshed");
    let made = http::create(&second, &mut sessions, &mut random, &mut counts).await;
    made.expect("the session is created");

    // The first service resumes with its old state, and accepts no token.
    first.process.signal(Signal::SIGCONT);
    for _ in 0..20 {
        for entry in &sessions {
            for (token, _) in entry.tokens() {
                let status = http::present(&first, &token).await;
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            }
        }
        let made = http::create(&first, &mut sessions, &mut random, &mut counts).await;
        assert_eq!(made, None, "the service acknowledged a create");
    }
    assert_eq!(http::check(&second, sessions.iter_mut()).await, 4);

    // When the second service ends, the first one restores the changes of the second.
    second.process.signal(Signal::SIGTERM);
    first.wait_until_ready().await;
    assert_eq!(http::check(&first, sessions.iter_mut()).await, 4);
    let third = sessions.get_mut(2).expect("there are four sessions");
    http::revoke(&first, third, &mut counts)
        .await
        .expect("the session is revoked");
    assert_eq!(third.state, State::Revoked);
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn no_acknowledged_change_is_lost_when_the_owners_are_paused_in_turn_under_load() {
    let server = NatsServer::start().await;
    let url = server.url();
    let mut random = Random::new();
    let services = [
        Service::start(&arguments(&url)),
        Service::start(&arguments(&url)),
    ];
    let stop = AtomicBool::new(false);
    let mut callers: Vec<Vec<AcknowledgedSession>> = (0..6).map(|_| Vec::new()).collect();
    let load = callers.iter_mut().map(|sessions| {
        let mut random = random.fork();
        let (services, stop) = (&services, &stop);
        async move {
            let mut counts = WorkCounts::default();
            while !stop.load(Ordering::SeqCst) {
                // The caller tries both services, because either can own the sessions. It makes no
                // more calls for a session whose revoke was not answered.
                for service in services {
                    let work = http::work(service, sessions, random.fork());
                    let stopped = async {
                        while !stop.load(Ordering::SeqCst) {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    };
                    tokio::select! {
                        more = work => counts += more,
                        () = stopped => break,
                    }
                }
            }
            counts
        }
    });
    let pauses = async {
        for pause in 0..6 {
            let owner = loop {
                let [one, other] = &services;
                if one.is_ready().await {
                    break one;
                }
                if other.is_ready().await {
                    break other;
                }
            };
            let other = services
                .iter()
                .find(|service| !std::ptr::eq(*service, owner));
            let other = other.expect("there are two services");
            tokio::time::sleep(Duration::from_millis(100 + 40 * pause)).await;
            owner.process.signal(Signal::SIGSTOP);
            other.wait_until_ready().await;
            owner.process.signal(Signal::SIGCONT);
        }
        stop.store(true, Ordering::SeqCst);
    };
    let (counts, ()) = tokio::join!(join_all(load), pauses);
    let mut all = WorkCounts::default();
    for more in counts {
        all += more;
    }
    let [one, other] = &services;
    other.process.signal(Signal::SIGTERM);
    one.wait_until_ready().await;
    for sessions in &mut callers {
        all.checked += http::check(one, sessions.iter_mut()).await;
    }
    println!("6 take-overs: {all}");
    assert!(
        all.acknowledged() > 50,
        "too few changes were acknowledged: {all}"
    );
}

#[cfg_attr(
    not(has_nats),
    ignore = "needs nats-server: apt-get install nats-server"
)]
#[tokio::test]
async fn an_outage_of_the_nats_server_makes_calls_fail_and_loses_no_session() {
    let mut server = NatsServer::start().await;
    let url = server.url();
    let (mut random, mut counts) = (Random::new(), WorkCounts::default());
    let service = Service::start(&arguments(&url));
    service.wait_until_ready().await;
    let mut sessions: Vec<AcknowledgedSession> = Vec::new();
    for outage in 0..3 {
        for _ in 0..5 {
            let made = http::create(&service, &mut sessions, &mut random, &mut counts).await;
            made.expect("the session is created");
        }
        server.kill();
        // No create is acknowledged during the outage.
        for _ in 0..3 {
            let made = http::create(&service, &mut sessions, &mut random, &mut counts).await;
            assert_eq!(made, None, "the service acknowledged a create");
        }
        let unanswered = sessions.get_mut(outage).expect("the session was created");
        assert_eq!(http::revoke(&service, unanswered, &mut counts).await, None);
        server.restart().await;
        service.wait_until_ready().await;
        let checked = http::check(&service, sessions.iter_mut()).await;
        assert_eq!(checked, sessions.len() as u64);
        assert_eq!(
            sessions[outage].state,
            State::Revoked,
            "the session ended at once"
        );
    }
    // Another process restores the same state.
    service.process.signal(Signal::SIGKILL);
    service.process.end();
    let other = Service::start(&arguments(&url));
    other.wait_until_ready().await;
    http::check(&other, sessions.iter_mut()).await;
}
