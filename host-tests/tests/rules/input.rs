//! R1 to R4: arguments, clock readings, and answers of the guard.

use clawdb_session_host::{Config, CreateRequest, Instant, IssuedToken, Limit, Page, SessionError};
use clawdb_session_testkit::fixture::{AGENT, Fixture, at, invalid_field, refusal, request};
use clawdb_session_testkit::{EntropyMode, GuardMode};

#[tokio::test]
async fn r01_ids_are_accepted_in_either_case_and_returned_in_lower_case() {
    let fixture = Fixture::configured(Config {
        workspace_id: Some("AAAAAAAA-0000-4000-8000-00000000000B".into()),
        ..Config::default()
    })
    .await;
    let session = fixture
        .session_of("ABCDEF00-0000-4000-8000-00000000000A")
        .await
        .session;
    assert_eq!(session.agent_id, "abcdef00-0000-4000-8000-00000000000a");
    assert_eq!(session.workspace_id, "aaaaaaaa-0000-4000-8000-00000000000b");
    assert_eq!(session.id, session.id.to_lowercase());
    let version = session.id.as_bytes()[14];
    assert_eq!((session.id.len(), version), (36, b'4'));
    assert_eq!(
        fixture
            .host
            .get(session.id.to_uppercase())
            .await
            .unwrap()
            .id,
        session.id
    );
}

#[tokio::test]
async fn r01_an_id_that_is_not_a_hyphenated_uuid_is_an_invalid_argument_with_its_field() {
    let fixture = Fixture::new().await;
    let wrong = [
        "",
        "agent-1",
        "0a9e000000004000800000000000000a",
        "{0a9e0000-0000-4000-8000-000000000001}",
        "urn:uuid:0a9e0000-0000-4000-8000-000000000001",
        "0a9e0000-0000-4000-8000-00000000000g",
        "0a9e0000-0000-4000-8000-000000000001 ",
        "0a9e0000_0000_4000_8000_000000000001",
        "0a9e0000-0000-4000-8000-00000000000\u{e9}",
    ];
    let first = Page::default();
    for id in wrong {
        let host = &fixture.host;
        assert_eq!(invalid_field(host.create(request(id)).await), "agent-id");
        assert_eq!(invalid_field(host.refresh(id).await), "session-id");
        assert_eq!(invalid_field(host.revoke(id).await), "session-id");
        assert_eq!(invalid_field(host.get(id).await), "session-id");
        assert_eq!(
            invalid_field(host.revoke_all_for_agent(id).await),
            "agent-id"
        );
        assert_eq!(
            invalid_field(host.list_for_agent(id, first).await),
            "agent-id"
        );
        assert_eq!(
            invalid_field(host.create_session(id, "worker", vec![], None).await),
            "agent-id"
        );
        assert_eq!(invalid_field(host.get_session(id).await), "id");
        assert_eq!(invalid_field(host.invalidate(id).await), "id");
        let config = Config {
            workspace_id: Some(id.into()),
            ..Config::default()
        };
        assert_eq!(invalid_field(host.configure(config).await), "workspace-id");
    }
    assert_eq!(fixture.stats().await.last_event, 0);
}

/// Returns a field, a request with the field at its bound, and a request with the field beyond it,
/// for each bound of a request.
fn bounds() -> Vec<(&'static str, CreateRequest, CreateRequest)> {
    let with = |change: &dyn Fn(&mut CreateRequest)| {
        let mut request = request(AGENT);
        change(&mut request);
        request
    };
    let json = |bytes: usize| Some(format!("\"{}\"", "x".repeat(bytes - 2)));
    let scopes = |count: usize| (0..count).map(|n| format!("scope:{n}")).collect::<Vec<_>>();
    vec![
        (
            "role",
            with(&|r| r.role = "r".into()),
            with(&|r| r.role = String::new()),
        ),
        (
            "role",
            with(&|r| r.role = "r".repeat(64)),
            with(&|r| r.role = "r".repeat(65)),
        ),
        (
            "role",
            with(&|r| r.role = "\u{e9}".repeat(32)),
            with(&|r| r.role = "\u{e9}".repeat(33)),
        ),
        (
            "scopes",
            with(&|r| r.scopes = vec![]),
            with(&|r| r.scopes = vec![String::new()]),
        ),
        (
            "scopes",
            with(&|r| r.scopes = scopes(128)),
            with(&|r| r.scopes = scopes(129)),
        ),
        (
            "scopes",
            with(&|r| r.scopes = vec!["s".repeat(256)]),
            with(&|r| r.scopes = vec!["s".repeat(257)]),
        ),
        (
            "scopes",
            with(&|r| r.scopes = vec!["!#[]~".into()]),
            with(&|r| r.scopes = vec!["two words".into()]),
        ),
        (
            "scopes",
            with(&|r| r.scopes = vec!["*".into()]),
            with(&|r| r.scopes = vec!["quote\"".into()]),
        ),
        (
            "scopes",
            with(&|r| r.scopes = vec!["a:*".into()]),
            with(&|r| r.scopes = vec!["back\\slash".into()]),
        ),
        (
            "scopes",
            with(&|r| r.scopes = vec!["a/b".into()]),
            with(&|r| r.scopes = vec!["caf\u{e9}".into()]),
        ),
        (
            "task-type",
            with(&|r| r.task_type = Some("t".into())),
            with(&|r| r.task_type = Some(String::new())),
        ),
        (
            "task-type",
            with(&|r| r.task_type = Some("t".repeat(128))),
            with(&|r| r.task_type = Some("t".repeat(129))),
        ),
        (
            "metadata",
            with(&|r| r.metadata = json(16_384)),
            with(&|r| r.metadata = json(16_385)),
        ),
        (
            "metadata",
            with(&|r| r.metadata = Some("null".into())),
            with(&|r| r.metadata = Some(String::new())),
        ),
        (
            "metadata",
            with(&|r| r.metadata = Some("[1]".into())),
            with(&|r| r.metadata = Some("{\"a\":1".into())),
        ),
        (
            "metadata",
            with(&|r| r.metadata = Some(" {} ".into())),
            with(&|r| r.metadata = Some("{} {}".into())),
        ),
        (
            "expires-in",
            with(&|r| r.expires_in = Some(1)),
            with(&|r| r.expires_in = Some(0)),
        ),
        (
            "expires-in",
            with(&|r| r.expires_in = Some(2_592_000)),
            with(&|r| r.expires_in = Some(2_592_001)),
        ),
        (
            "expires-in",
            with(&|r| r.expires_in = None),
            with(&|r| r.expires_in = Some(u64::MAX)),
        ),
        (
            "expires-in",
            with(&|r| r.expires_in = None),
            with(&|r| r.expires_in = Some(i64::MAX.cast_unsigned() / 1_000)),
        ),
    ]
}

#[tokio::test]
async fn r02_each_bound_of_a_request_is_accepted_and_the_next_value_is_refused() {
    let fixture = Fixture::new().await;
    for (field, within, beyond) in bounds() {
        fixture
            .host
            .create(within)
            .await
            .unwrap_or_else(|error| panic!("{field}: {error}"));
        let before = fixture.stats().await;
        assert_eq!(invalid_field(fixture.host.create(beyond).await), field);
        assert_eq!(
            fixture.stats().await,
            before,
            "the refused request changed the state"
        );
    }
    assert_eq!(
        fixture.guard.calls().issue,
        bounds().len() as u64,
        "the guard was asked for valid requests only"
    );
}

#[tokio::test]
async fn r02_duplicate_scopes_collapse_in_order_and_metadata_is_returned_as_given() {
    let fixture = Fixture::new().await;
    let metadata = "{ \"b\": 1,\n \"a\": [1.0, 2e5, \"\\u00e9\"], \"a\": 2 }";
    let asked = CreateRequest {
        scopes: ["c", "a", "c", "b", "a"].map(Into::into).to_vec(),
        metadata: Some(metadata.into()),
        task_type: Some("plan".into()),
        ..request(AGENT)
    };
    let created = fixture.host.create(asked).await.unwrap();
    assert_eq!(created.session.scopes, ["c", "a", "b"]);
    let session = fixture.host.validate(created.token).await.unwrap();
    assert_eq!(session, created.session);
    assert_eq!(
        (&*session.metadata, session.task_type.as_deref()),
        (metadata, Some("plan"))
    );
    assert_eq!(fixture.session().await.session.metadata, "{}");
}

#[tokio::test]
async fn r02_metadata_of_any_json_is_returned_byte_for_byte() {
    let fixture = Fixture::new().await;
    let nested = format!("{}{}", "[".repeat(8_192), "]".repeat(8_192));
    for metadata in [
        "null",
        "-0",
        "123456789012345678901234567890",
        "3.14159265358979323846264338",
        "1e400",
        r#""\ud800\/""#,
        r#"{"b":1,"a":2,"a":3}"#,
        "\n{ \"a\" : [ 1 ] }\t ",
        &nested,
    ] {
        let asked = CreateRequest {
            metadata: Some(metadata.into()),
            ..request(AGENT)
        };
        let created = fixture.host.create(asked).await.unwrap();
        assert_eq!(created.session.metadata, metadata);
        let session = fixture.host.get(created.session.id).await.unwrap();
        assert_eq!(session.metadata, metadata);
    }
}

#[tokio::test]
async fn r02_a_presented_token_has_at_most_8_kib() {
    let fixture = Fixture::new().await;
    fixture.session().await;
    assert_eq!(
        refusal(fixture.host.validate("t".repeat(8_192)).await),
        SessionError::InvalidToken
    );
    assert_eq!(
        invalid_field(fixture.host.validate("t".repeat(8_193)).await),
        "token"
    );
    assert_eq!(
        refusal(fixture.host.validate("").await),
        SessionError::InvalidToken
    );
}

#[tokio::test]
async fn r02_pages_have_1_to_1000_rows() {
    let fixture = Fixture::new().await;
    let page = |limit| Page {
        cursor: None,
        limit: Some(limit),
    };
    for limit in [1, 1_000] {
        fixture
            .host
            .list_for_agent(AGENT, page(limit))
            .await
            .unwrap();
        fixture.host.poll_events(0, limit).await.unwrap();
    }
    for limit in [0, 1_001, u32::MAX] {
        assert_eq!(
            invalid_field(fixture.host.list_for_agent(AGENT, page(limit)).await),
            "limit"
        );
        assert_eq!(
            invalid_field(fixture.host.poll_events(0, limit).await),
            "limit"
        );
    }
}

#[tokio::test]
async fn r02_each_setting_has_its_range_and_is_set_once_before_the_first_session() {
    type Set = fn(u64) -> Config;
    let settings: [(&str, u64, u64, Set); 10] = [
        ("default-ttl", 1, 2_592_000, |n| Config {
            default_ttl: Some(n),
            ..Config::default()
        }),
        ("max-lifetime", 1, 31_536_000, |n| Config {
            max_lifetime: Some(n),
            ..Config::default()
        }),
        ("max-sessions", 1, 10_000_000, |n| Config {
            max_sessions: u32::try_from(n).ok(),
            ..Config::default()
        }),
        ("max-sessions-per-agent", 1, 100_000, |n| Config {
            max_sessions_per_agent: u32::try_from(n).ok(),
            ..Config::default()
        }),
        ("max-sessions-per-root", 1, 100_000, |n| Config {
            max_sessions_per_root: u32::try_from(n).ok(),
            ..Config::default()
        }),
        ("max-depth", 0, 16, |n| Config {
            max_depth: u32::try_from(n).ok(),
            ..Config::default()
        }),
        ("rotation-grace", 0, 300, |n| Config {
            rotation_grace: Some(n),
            ..Config::default()
        }),
        ("idle-timeout", 1, 31_536_000, |n| Config {
            idle_timeout: Some(n),
            ..Config::default()
        }),
        ("event-capacity", 1, 65_536, |n| Config {
            event_capacity: u32::try_from(n).ok(),
            ..Config::default()
        }),
        ("max-state-bytes", 65_536, 2_415_919_104, |n| Config {
            max_state_bytes: Some(n),
            ..Config::default()
        }),
    ];
    for (field, min, max, set) in settings {
        for value in [min, max] {
            let fixture = Fixture::new().await;
            for other in min.checked_sub(1).into_iter().chain([max + 1]) {
                assert_eq!(
                    invalid_field(fixture.host.configure(set(other)).await),
                    field
                );
            }
            fixture
                .host
                .configure(set(value))
                .await
                .unwrap_or_else(|error| panic!("{field} = {value}: {error}"));
            assert_eq!(
                refusal(fixture.host.configure(set(value)).await),
                SessionError::AlreadyConfigured
            );
        }
    }
    // `configure` is accepted after a failed create, and refused while a create is in flight.
    let fixture = Fixture::new().await;
    fixture.guard.set_all(GuardMode::Deny);
    assert!(fixture.host.create(request(AGENT)).await.is_err());
    fixture.host.configure(Config::default()).await.unwrap();
    let fixture = Fixture::new().await;
    fixture.guard.set_all(GuardMode::Hold);
    let _in_flight = fixture.start_create(request(AGENT)).await;
    assert_eq!(
        refusal(fixture.host.configure(Config::default()).await),
        SessionError::AlreadyConfigured
    );
    let fixture = Fixture::new().await;
    fixture.session().await;
    assert_eq!(
        refusal(fixture.host.configure(Config::default()).await),
        SessionError::AlreadyConfigured
    );
}

#[tokio::test]
async fn r02_a_short_max_lifetime_shortens_the_default_ttl_but_not_an_explicit_one() {
    let short = Config {
        max_lifetime: Some(60),
        ..Config::default()
    };
    let fixture = Fixture::new().await;
    let both = Config {
        default_ttl: Some(61),
        ..short.clone()
    };
    assert_eq!(
        invalid_field(fixture.host.configure(both).await),
        "default-ttl"
    );
    fixture.host.configure(short).await.unwrap();
    let session = fixture
        .host
        .create_session(AGENT, "worker", vec![], None)
        .await
        .unwrap()
        .session;
    assert_eq!(session.expires_at - session.created_at, 60_000);
}

#[tokio::test]
async fn r03_no_reading_of_the_clock_makes_the_component_trap() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    let readings = [
        at(i64::MIN),
        at(-1),
        Instant {
            seconds: 1_893_456_001,
            nanoseconds: u32::MAX,
        },
        Instant {
            seconds: i64::MIN,
            nanoseconds: u32::MAX,
        },
        at(253_402_300_800),
        at(i64::MAX),
        Instant {
            seconds: i64::MAX,
            nanoseconds: u32::MAX,
        },
    ];
    for reading in readings {
        fixture.clock.set(reading);
        assert_eq!(
            fixture.validate(&grant).await,
            Ok(()),
            "{reading:?} is not a valid time and is ignored"
        );
        fixture
            .host
            .refresh(fixture.session().await.session.id)
            .await
            .unwrap();
    }
    // The last second that a timestamp can have. Earlier sessions have expired, and a session
    // created within it is live.
    fixture.clock.set(at(253_402_300_799));
    let last = fixture.host.create(request(AGENT)).await.unwrap().session;
    assert_eq!(last.expires_at, 253_402_300_799_999);
    assert_eq!(
        fixture.validate(&grant).await,
        Err(SessionError::SessionExpired)
    );
    fixture.clock.set(Instant {
        seconds: 253_402_300_799,
        nanoseconds: 999_999_999,
    });
    let asked = fixture.guard.calls();
    let error = refusal(fixture.host.create(request(AGENT)).await);
    assert_eq!(
        (error, fixture.guard.calls()),
        (SessionError::SessionExpired, asked)
    );
}

#[tokio::test]
async fn r03_no_answer_of_the_guard_makes_the_component_trap() {
    let fixture = Fixture::new().await;
    let grant = fixture.session().await;
    for length in [0, 8_193, 1 << 20] {
        fixture.tokens.alter_next_token(move |issued| IssuedToken {
            token: "t".repeat(length),
            ..issued
        });
        assert!(
            matches!(
                refusal(fixture.host.create(request(AGENT)).await),
                SessionError::Guard(_)
            ),
            "a token of {length} bytes"
        );
        fixture.tokens.alter_next_token(move |issued| IssuedToken {
            handle: "h".repeat(length),
            ..issued
        });
        assert!(
            matches!(
                refusal(fixture.host.refresh(&*grant.session.id).await),
                SessionError::Guard(_)
            ),
            "a handle of {length} bytes"
        );
    }
    for expires_at in [0, u64::MAX] {
        fixture.tokens.alter_next_token(move |issued| IssuedToken {
            expires_at,
            ..issued
        });
        let answer = fixture.host.create(request(AGENT)).await;
        assert_eq!(answer.is_ok(), expires_at > 0, "{answer:?}");
    }
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    assert_eq!(fixture.stats().await.live_sessions, 2);
}

#[tokio::test]
async fn r03_large_requests_are_refused_before_they_fill_the_memory() {
    let fixture = Fixture::configured(Config {
        max_state_bytes: Some(200_000),
        ..Config::default()
    })
    .await;
    let large = || CreateRequest {
        metadata: Some(format!("\"{}\"", "x".repeat(16_000))),
        ..request(AGENT)
    };
    let mut created = 0;
    let error = loop {
        match fixture.host.create(large()).await {
            Ok(_) => created += 1,
            answer => break refusal(answer),
        }
    };
    assert_eq!(error, SessionError::LimitReached(Limit::MaxStateBytes));
    let stats = fixture.stats().await;
    assert_eq!((created, stats.live_sessions), (11, 11));
    assert!(
        (180_000..=200_000).contains(&stats.state_bytes),
        "{}",
        stats.state_bytes
    );
    // Expired sessions free bytes.
    fixture.advance(61.0);
    fixture.host.create(large()).await.unwrap();
}

#[tokio::test]
async fn r03_a_random_source_that_returns_few_bytes_is_asked_again_and_none_is_an_error() {
    let fixture = Fixture::new().await;
    fixture.entropy.set(EntropyMode::Empty);
    assert_eq!(
        refusal(fixture.host.create(request(AGENT)).await),
        SessionError::EntropyUnavailable
    );
    assert_eq!(fixture.stats().await.creates_in_flight, 0);
    fixture.entropy.set(EntropyMode::Short(3));
    let grant = fixture.session().await;
    assert_eq!(fixture.validate(&grant).await, Ok(()));
    fixture.entropy.set(EntropyMode::Empty);
    assert_eq!(
        refusal(fixture.host.create(request(AGENT)).await),
        SessionError::EntropyUnavailable
    );
    assert_eq!(fixture.validate(&grant).await, Ok(()));
}

#[tokio::test]
async fn r04_the_guard_is_given_the_principal_and_the_task() {
    let fixture = Fixture::new().await;
    let session = fixture.session().await.session;
    let asked = CreateRequest {
        task_type: Some("review".into()),
        ..request(AGENT)
    };
    fixture.host.create(asked).await.unwrap();
    fixture.host.refresh(&*session.id).await.unwrap();
    let [first, second, third] = fixture.tokens.requests().try_into().unwrap();
    assert_eq!(
        (&*first.principal, &*first.task),
        (&*format!("agent:{AGENT}"), "default")
    );
    assert_eq!(second.task, "review");
    assert_eq!(
        (
            &first.session_id,
            &first.agent_id,
            &first.workspace_id,
            &first.role,
            &first.scopes,
            first.expires_at
        ),
        (
            &session.id,
            &session.agent_id,
            &session.workspace_id,
            &session.role,
            &session.scopes,
            session.expires_at
        )
    );
    assert_eq!(first, third, "a refresh makes the same request");
}
