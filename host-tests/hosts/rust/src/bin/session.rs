//! A host of the world `session` on plain wasmtime: creates a session, and revokes it while a
//! validation of it waits for the guard. The argument is the file of the component; without it, the
//! one built here is loaded.

use std::time::Duration;

use clawdb_session_component::COMPONENT;
use clawdb_session_hosts_rust::{Found, TokenTable, random_bytes, since_1970};
use tokio::time::{sleep, timeout};
use wasmtime::component::{Accessor, Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Result, Store, StoreLimits, StoreLimitsBuilder};

use bindings::clawdb::session::guard::{self, Claims, GuardError, IssueRequest, IssuedToken};
use bindings::exports::clawdb::session::sessions::{CreateRequest, Error, Session};
use bindings::wasi::clocks::system_clock::Instant;

mod bindings {
    // Exports are called through an accessor, so that calls overlap in one instance.
    wasmtime::component::bindgen!({
        path: "../../../wit",
        world: "session",
        exports: { default: async | store },
    });
}

/// What one instance has of its own.
struct Host {
    tokens: TokenTable,
    limits: StoreLimits,
}

/// The deadline of the guard. A call that is dropped continues in the component, so a deadline
/// belongs around the guard and not around the call.
const DEADLINE: Duration = Duration::from_secs(5);

/// Waits as for an answer from a network. A guard that asks a server does it here.
async fn ask() -> Result<(), GuardError> {
    let late = |_| GuardError::Unavailable("the guard's deadline has passed".into());
    timeout(DEADLINE, sleep(Duration::from_millis(10)))
        .await
        .map_err(late)
}

impl guard::Host for Host {}

/// Other calls run while a function of the guard waits. It returns each failure as a value: a
/// panic, or an error of wasmtime, would end the instance with all its sessions.
impl<T: Send> guard::HostWithStore<T> for HasSelf<Host> {
    async fn issue_session_token(
        accessor: &Accessor<T, Self>,
        request: IssueRequest,
    ) -> Result<IssuedToken, GuardError> {
        ask().await?;
        let expires_at = request.expires_at;
        match accessor.with(|mut access| access.get().tokens.issue(expires_at)) {
            Some((token, handle)) => Ok(IssuedToken {
                token,
                handle,
                expires_at,
            }),
            None => Err(GuardError::Unavailable("no random bytes".into())),
        }
    }

    async fn validate_token(
        accessor: &Accessor<T, Self>,
        token: String,
    ) -> Result<Claims, GuardError> {
        ask().await?;
        accessor.with(|mut access| validate(&access.get().tokens, &token))
    }

    /// Answers a batch within one deadline.
    async fn validate_tokens(
        accessor: &Accessor<T, Self>,
        tokens: Vec<String>,
    ) -> Vec<Result<Claims, GuardError>> {
        let asked = ask().await;
        accessor.with(|mut access| {
            let table = &access.get().tokens;
            let validate = |token: &String| asked.clone().and_then(|()| validate(table, token));
            tokens.iter().map(validate).collect()
        })
    }

    async fn revoke_tokens(
        accessor: &Accessor<T, Self>,
        handles: Vec<String>,
    ) -> Vec<Result<(), GuardError>> {
        let asked = ask().await;
        accessor.with(|mut access| {
            let table = &mut access.get().tokens;
            let revoke = |handle: &String| asked.clone().map(|()| table.revoke(handle));
            handles.iter().map(revoke).collect()
        })
    }
}

fn validate(tokens: &TokenTable, token: &str) -> Result<Claims, GuardError> {
    match tokens.find(token) {
        Found::Valid { handle, expires_at } => Ok(Claims {
            handle: handle.into(),
            expires_at,
        }),
        Found::Expired => Err(GuardError::Expired),
        Found::Unknown => Err(GuardError::InvalidToken),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    let engine = Engine::new(&config)?;
    let component = match std::env::args_os().nth(1) {
        Some(file) => Component::from_file(&engine, file)?,
        None => Component::new(&engine, COMPONENT)?,
    };

    // The component calls one function of each interface of WASI.
    let mut linker = Linker::new(&engine);
    guard::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    linker
        .instance("wasi:clocks/system-clock@0.3.0")?
        .func_wrap("now", |_, (): ()| {
            let now = since_1970();
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            Ok((Instant {
                seconds,
                nanoseconds: now.subsec_nanos(),
            },))
        })?;
    linker
        .instance("wasi:random/random@0.3.0")?
        .func_wrap("get-random-bytes", |_, (len,): (u64,)| {
            Ok((random_bytes(len),))
        })?;

    // An instance that exceeds the limit traps, so it is above the default of `max-state-bytes`,
    // 2 GiB.
    let limits = StoreLimitsBuilder::new().memory_size(7 << 29).build();
    let mut store = Store::new(
        &engine,
        Host {
            tokens: TokenTable::default(),
            limits,
        },
    );
    store.limiter(|host| &mut host.limits);
    // A call that waits needs a few handles. By default, some thousand calls at a time make the
    // instance trap. Bound the number of calls instead.
    store.set_max_component_handles(usize::MAX);
    let instance = bindings::Session::instantiate_async(&mut store, &component, &linker).await?;

    // `run_concurrent` drives all calls of the instance. A host has one task for it, and passes
    // calls to that task.
    let run = store.run_concurrent(async |accessor| {
        let sessions = instance.clawdb_session_sessions();
        let request = CreateRequest {
            agent_id: "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f".into(),
            role: "researcher".into(),
            scopes: vec!["memory:read".into(), "web:search".into()],
            task_type: None,
            expires_in: Some(900),
            metadata: None,
            max_uses: None,
        };
        // A call returns two results. The outer one is an error if the instance trapped: its
        // sessions are lost, and a new store has to be made. The inner one is the component's
        // answer.
        let grant = sessions.call_create(accessor, request).await??;
        println!("created a session for a {}", grant.session.role);
        let (token, id) = (grant.token, grant.session.id);
        let validated = sessions.call_validate(accessor, token.clone()).await?;
        println!("its token: {}", outcome(validated));
        let validated = sessions
            .call_validate(accessor, "another token".into())
            .await?;
        println!("another token: {}", outcome(validated));

        // The validation waits for the guard. The session ends meanwhile, at once.
        let (validated, revoked) = tokio::join!(
            sessions.call_validate(accessor, token.clone()),
            sessions.call_revoke(accessor, id),
        );
        println!(
            "a validation in flight during the revocation: {}",
            outcome(validated?)
        );
        println!(
            "revoked, confirmed by the guard: {}",
            revoked??.guard_confirmed
        );
        let validated = sessions.call_validate(accessor, token).await?;
        println!("its token: {}", outcome(validated));
        println!(
            "live sessions: {}",
            sessions.call_active_count(accessor).await?
        );
        Ok(())
    });
    run.await?
}

fn outcome(validated: Result<Session, Error>) -> String {
    match validated {
        Ok(session) => format!("may {}", session.scopes.join(" and ")),
        Err(Error::InvalidToken) => "invalid-token".into(),
        Err(Error::SessionRevoked) => "session-revoked".into(),
        Err(error) => error.to_string(),
    }
}
