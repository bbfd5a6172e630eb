//! Calls from threads, and the ends of an instance.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use clawdb_session_host::{
    CallError, Clock, CreateRequest, GuardError, GuardFailure, HostError, Instant, InvalidSetting,
    LocalInstance, LocalOptions, LocalSessions, Page, SessionError, TrapKind, full_text,
};
use clawdb_session_testkit::fixture::{AGENT, PlainGuard, invalid_field, refusal, request};

use crate::fixture::{LocalFixture, engine};

fn trap_kind<T: std::fmt::Debug>(answer: Result<T, CallError>) -> TrapKind {
    match answer {
        Err(CallError::Host(HostError::Trapped { kind, .. })) => kind,
        answer => panic!("a trap was expected, not {answer:?}"),
    }
}

#[test]
fn threads_share_an_instance_and_each_call_takes_effect_once() {
    const THREADS: u32 = 16;
    const CALLS: u32 = 50;
    let fixture = LocalFixture::new();
    let shared = fixture.sessions.create(request(AGENT)).unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..CALLS {
                    let grant = fixture.sessions.create(request(AGENT)).unwrap();
                    let session = fixture.sessions.validate(&*grant.token).unwrap();
                    assert_eq!(session, grant.session);
                    fixture.sessions.validate(&*shared.token).unwrap();
                }
            });
        }
    });
    assert_eq!(fixture.sessions.active_count(), Ok(THREADS * CALLS + 1));
    assert_eq!(
        fixture.sessions.revoke_all_for_agent(AGENT),
        Ok(THREADS * CALLS + 1)
    );
    let refused = refusal(fixture.sessions.validate(shared.token));
    assert_eq!(refused, SessionError::InvalidToken);
}

#[test]
fn a_guard_that_calls_the_instance_gets_an_error_and_the_call_continues() {
    let fixture = LocalFixture::new();
    let grant = fixture.sessions.create(request(AGENT)).unwrap();
    let seen = Arc::new(OnceLock::new());
    let (sessions, answer) = (fixture.sessions.clone(), seen.clone());
    fixture.guard.before(move || {
        let _ = answer.set(sessions.active_count());
        Ok(())
    });
    fixture.sessions.validate(&*grant.token).unwrap();
    assert_eq!(seen.get(), Some(&Err(HostError::Reentrant)));
    assert_eq!(fixture.sessions.active_count(), Ok(1));
}

#[test]
fn a_call_that_waits_too_long_for_a_slow_guard_returns_busy_and_has_no_effect() {
    let fixture = LocalFixture::with(|options| LocalOptions {
        busy_after: Duration::from_millis(20),
        ..options
    });
    let grant = fixture.sessions.create(request(AGENT)).unwrap();
    let held = fixture.guard.hold();
    let validating = thread::spawn({
        let (sessions, token) = (fixture.sessions.clone(), grant.token.clone());
        move || sessions.validate(token)
    });
    held.wait();
    let waited = Duration::from_millis(20);
    let busy = HostError::Busy { waited };
    assert_eq!(
        fixture.sessions.revoke(&*grant.session.id),
        Err(CallError::Host(busy.clone()))
    );
    assert_eq!(
        busy.to_string(),
        "busy: calls before this one took longer than 20 ms"
    );
    held.release();
    assert_eq!(validating.join().unwrap(), Ok(grant.session.clone()));
    assert_eq!(fixture.sessions.active_count(), Ok(1));
    fixture.sessions.revoke(&*grant.session.id).unwrap();
}

#[test]
fn a_guard_that_panics_is_unavailable_and_the_instance_continues() {
    let fixture = LocalFixture::new();
    fixture
        .guard
        .before(|| panic!("the guard panics on purpose"));
    assert_eq!(
        refusal(fixture.sessions.create(request(AGENT))),
        SessionError::Guard(GuardError::Unavailable("the guard panicked".into()))
    );
    fixture.sessions.create(request(AGENT)).unwrap();
    assert_eq!(fixture.sessions.active_count(), Ok(1));
}

#[test]
fn a_guard_that_must_not_be_used_ends_the_instance_and_every_call_reports_it() {
    let fixture = LocalFixture::new();
    fixture
        .guard
        .before(|| Err(GuardFailure::Fatal("the key is gone".into())));
    let ended = HostError::Trapped {
        kind: TrapKind::Guard,
        message: "the key is gone".into(),
    };
    let trapped = fixture.sessions.create(request(AGENT));
    assert_eq!(trapped, Err(CallError::Host(ended.clone())));
    assert_eq!(fixture.sessions.clone().stats(), Err(ended.clone()));
    assert_eq!(fixture.sessions.ended(), Some(ended));
}

#[test]
fn an_instance_that_needs_more_than_max_memory_ends_with_that_reason() {
    let fixture = LocalFixture::with(|options| LocalOptions {
        max_memory: 8 << 20,
        ..options
    });
    let large = request(AGENT).with_metadata(format!("\"{}\"", "m".repeat(16_000)));
    let trapped = (0..1_000).find_map(|_| fixture.sessions.create(large.clone()).err());
    let trapped = trapped.expect("the instance exceeds max_memory");
    assert_eq!(trap_kind::<()>(Err(trapped)), TrapKind::OutOfMemory);
    assert!(fixture.sessions.memory() <= 8 << 20);
}

#[test]
fn a_call_that_computes_for_longer_than_interrupt_after_ends_the_instance() {
    let fixture = LocalFixture::with(|options| LocalOptions {
        // The call ends at the first check that comes while it computes.
        interrupt_after: Duration::ZERO,
        ..options
    });
    let begun = std::time::Instant::now();
    let mut interrupted = None;
    while interrupted.is_none() && begun.elapsed() < Duration::from_secs(30) {
        interrupted = fixture.sessions.stats().err();
    }
    let interrupted = interrupted.expect("a check comes during a call");
    assert_eq!(
        trap_kind::<()>(Err(interrupted.into())),
        TrapKind::Interrupted
    );
}

#[test]
fn a_slow_guard_is_not_interrupted() {
    let fixture = LocalFixture::with(|options| LocalOptions {
        interrupt_after: Duration::from_millis(50),
        ..options
    });
    fixture.guard.before(|| {
        thread::sleep(Duration::from_millis(200));
        Ok(())
    });
    fixture.sessions.create(request(AGENT)).unwrap();
}

#[test]
fn a_clock_that_panics_stops_the_instance() {
    struct Broken;
    impl Clock for Broken {
        fn now(&self) -> Instant {
            panic!("the clock panics on purpose");
        }
    }
    let fixture = LocalFixture::with(|options| LocalOptions {
        clock: Arc::new(Broken),
        ..options
    });
    let stopped = Err(CallError::Host(HostError::Stopped));
    assert_eq!(fixture.sessions.create(request(AGENT)), stopped);
    assert_eq!(fixture.sessions.stats(), Err(HostError::Stopped));
}

#[test]
fn an_instance_does_not_start_with_a_setting_outside_its_bounds() {
    let options = LocalOptions {
        busy_after: Duration::ZERO,
        ..LocalOptions::new(clawdb_session_host::AnswersAtOnce::new(Arc::new(
            PlainGuard::default(),
        )))
    };
    let error = LocalSessions::start(&engine(), options).err().unwrap();
    assert_eq!(
        full_text(&error),
        "the component could not be started: busy_after (0 s) must be longer than 0 s"
    );
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.is::<InvalidSetting>());
}

#[test]
fn r02_an_argument_that_does_not_fit_into_the_instance_is_refused_by_the_host() {
    let fixture = LocalFixture::new();
    let huge = CreateRequest::new(AGENT, "r".repeat(2 << 20));
    assert_eq!(invalid_field(fixture.sessions.create(huge)), "role");
    let page = fixture.sessions.list_for_agent(AGENT, Page::default());
    assert_eq!(page.unwrap().sessions, []);
}

#[test]
fn an_instance_with_one_owner_needs_no_lock() {
    let guard = clawdb_session_host::AnswersAtOnce::new(Arc::new(PlainGuard::default()));
    let mut instance = LocalInstance::start(&engine(), LocalOptions::new(guard)).unwrap();
    let grant = instance.create(request(AGENT)).unwrap();
    assert_eq!(instance.validate(grant.token), Ok(grant.session));
    assert_eq!(instance.ended(), None);
    assert!(instance.memory() > 0);
}
