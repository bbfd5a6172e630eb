//! A host of the world `session-sync` on plain wasmtime: creates a session, validates it, revokes
//! it. The argument is the file of the component; without it, the one built here is loaded.

use clawdb_session_component::SYNC_COMPONENT;
use clawdb_session_hosts_rust::{Found, TokenTable, random_bytes, since_1970};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Result, Store, StoreLimits, StoreLimitsBuilder};

use bindings::SessionSync;
use bindings::clawdb::session_sync::guard::{self, Claims, GuardError, IssueRequest, IssuedToken};
use bindings::exports::clawdb::session_sync::sessions::{CreateRequest, Error, Session};
use bindings::wasi::clocks::wall_clock::Datetime;

mod bindings {
    wasmtime::component::bindgen!({ path: "../../../wit/sync", world: "session-sync" });
}

/// What one instance has of its own. A store is used by one thread at a time: put it behind a lock,
/// or give it to one thread, to call it from several.
struct Host {
    tokens: TokenTable,
    limits: StoreLimits,
}

/// The guard runs while the component waits, and so does every other call. It returns each failure
/// as a value: a panic, or an error of wasmtime, would end the instance with all its sessions.
impl guard::Host for Host {
    fn issue_session_token(&mut self, request: IssueRequest) -> Result<IssuedToken, GuardError> {
        let expires_at = request.expires_at;
        match self.tokens.issue(expires_at) {
            Some((token, handle)) => Ok(IssuedToken {
                token,
                handle,
                expires_at,
            }),
            None => Err(GuardError::Unavailable("no random bytes".into())),
        }
    }

    fn validate_token(&mut self, token: String) -> Result<Claims, GuardError> {
        match self.tokens.find(&token) {
            Found::Valid { handle, expires_at } => Ok(Claims {
                handle: handle.into(),
                expires_at,
            }),
            Found::Expired => Err(GuardError::Expired),
            Found::Unknown => Err(GuardError::InvalidToken),
        }
    }

    fn validate_tokens(&mut self, tokens: Vec<String>) -> Vec<Result<Claims, GuardError>> {
        tokens
            .into_iter()
            .map(|token| self.validate_token(token))
            .collect()
    }

    fn revoke_tokens(&mut self, handles: Vec<String>) -> Vec<Result<(), GuardError>> {
        handles
            .iter()
            .map(|handle| {
                self.tokens.revoke(handle);
                Ok(())
            })
            .collect()
    }
}

fn main() -> Result<()> {
    // The world has no `async func`. Without support for concurrency, calls are faster.
    let mut config = Config::new();
    config.concurrency_support(false);
    let engine = Engine::new(&config)?;
    let component = match std::env::args_os().nth(1) {
        Some(file) => Component::from_file(&engine, file)?,
        None => Component::new(&engine, SYNC_COMPONENT)?,
    };

    // The component calls one function of each interface of WASI.
    let mut linker = Linker::new(&engine);
    guard::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    linker
        .instance("wasi:clocks/wall-clock@0.2.0")?
        .func_wrap("now", |_, (): ()| {
            let now = since_1970();
            Ok((Datetime {
                seconds: now.as_secs(),
                nanoseconds: now.subsec_nanos(),
            },))
        })?;
    linker
        .instance("wasi:random/random@0.2.0")?
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
    let instance = SessionSync::instantiate(&mut store, &component, &linker)?;
    let sessions = instance.clawdb_session_sync_sessions();

    // A call returns two results. The outer one is an error if the instance trapped: its sessions
    // are lost, and a new store has to be made. The inner one is the component's answer.
    let request = CreateRequest {
        agent_id: "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f".into(),
        role: "researcher".into(),
        scopes: vec!["memory:read".into(), "web:search".into()],
        task_type: None,
        expires_in: Some(900),
        metadata: None,
        max_uses: None,
    };
    let grant = sessions.call_create(&mut store, &request)??;
    println!("created a session for a {}", grant.session.role);
    let validated = sessions.call_validate(&mut store, &grant.token)?;
    println!("its token: {}", outcome(validated));
    let validated = sessions.call_validate(&mut store, "another token")?;
    println!("another token: {}", outcome(validated));
    let revocation = sessions.call_revoke(&mut store, &grant.session.id)??;
    println!(
        "revoked, confirmed by the guard: {}",
        revocation.guard_confirmed
    );
    let validated = sessions.call_validate(&mut store, &grant.token)?;
    println!("its token: {}", outcome(validated));
    println!("live sessions: {}", sessions.call_active_count(&mut store)?);
    Ok(())
}

fn outcome(validated: Result<Session, Error>) -> String {
    match validated {
        Ok(session) => format!("may {}", session.scopes.join(" and ")),
        Err(Error::InvalidToken) => "invalid-token".into(),
        Err(error) => error.to_string(),
    }
}
