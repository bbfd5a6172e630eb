//! The calls of a case, and the sessions that exist before them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use clawdb_session::{
    AgentId, Attributes, CreateRequest, Error, Grant, MaxUses, Metadata, Revocation, RevokeFilter,
    Role, Scope, Scopes, Session, SessionId, SessionManager, Token,
};

use crate::case::{Call, Case, Planted, State, Target};
use crate::outcome::Answer;
use crate::ports::{Ports, Repeated};

/// The manager.
pub type Manager = SessionManager<Ports, Ports, Ports>;

/// A call in flight.
pub type InFlight<'m> = Pin<Box<dyn Future<Output = Answer> + 'm>>;

/// What exists before the calls.
pub struct Prepared {
    first: Grant,
    second: Option<Grant>,
    /// A's superseded token.
    superseded: Option<Token>,
}

impl Prepared {
    fn grant(&self, target: Target) -> &Grant {
        match (target, &self.second) {
            (Target::B, Some(second)) => second,
            _ => &self.first,
        }
    }

    /// Returns the id of a session.
    pub fn id(&self, target: Target) -> SessionId {
        self.grant(target).session.id
    }

    /// Returns the generation of A.
    pub fn generation(&self) -> u64 {
        self.first.session.generation
    }

    fn token(&self, target: Target) -> Token {
        self.grant(target).token.clone()
    }
}

/// Makes the sessions that exist before the calls.
pub fn prepare(manager: &Manager, ports: &Ports, state: State) -> Result<Prepared, Error> {
    if state == State::Pending {
        let earlier = now(manager.create(request(1, "earlier", state)))?;
        ports.set_down(true);
        now(manager.revoke(earlier.session.id))?;
        ports.set_down(false);
    }
    let mut first = now(manager.create(request(1, Target::A.name(), state)))?;
    let second = match state {
        State::Two => Some(now(manager.create(request(2, Target::B.name(), state)))?),
        State::Family => {
            let request = request(2, Target::B.name(), state);
            Some(now(manager.delegate(first.session.id, request))?)
        }
        _ => None,
    };
    let mut superseded = None;
    if state.is_rotated() {
        superseded = Some(first.token.clone());
        first = now(manager.rotate(first.token))?;
    }
    if state == State::Cached {
        now(manager.validate(first.token.clone()))?;
    }
    match state {
        State::SameHandle => ports.repeat(Repeated::Handle),
        State::SameToken => ports.repeat(Repeated::Token),
        _ => {}
    }
    Ok(Prepared {
        first,
        second,
        superseded,
    })
}

/// Returns one of the agents, 1 or 2.
pub fn agent(number: u8) -> AgentId {
    let id = format!("0a9e0000-0000-4000-8000-{number:012x}");
    AgentId::parse("agent-id", &id).expect("the id is a UUID")
}

fn role(name: &str) -> Role {
    Role::parse(name.into()).expect("the name is a role")
}

fn request(agent_number: u8, name: &str, state: State) -> CreateRequest {
    let scopes = Scopes::parse(&["memory:read".into()]);
    let max_uses = state.max_uses().filter(|_| name == Target::A.name());
    CreateRequest {
        agent_id: agent(agent_number),
        attributes: Attributes {
            role: role(name),
            scopes: scopes.expect("the scope is valid"),
            task_type: None,
            metadata: Metadata::default(),
        },
        max_uses: max_uses.map(|uses| MaxUses::new(uses).expect("the number is not 0")),
        expires_in: None,
    }
}

/// Returns the result of a call that does not wait.
pub fn now<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the guard answers at once"),
    }
}

/// Begins a call of a case.
pub fn begin<'m>(
    case: &Case,
    number: usize,
    manager: &'m Manager,
    prepared: &Prepared,
) -> InFlight<'m> {
    let state = case.state;
    let call = case.calls[number];
    if let Some(planted) = case.planted
        && let Some(call) = begin_planted(planted, call, manager, prepared, state)
    {
        return call;
    }
    let made_name = call.made_name(number).unwrap_or_default();
    match call {
        Call::Create => {
            let request = request(1, &made_name, state);
            Box::pin(async move { granted(manager.create(request).await) })
        }
        Call::Delegate(target) => {
            let request = request(2, &made_name, state);
            let parent = prepared.id(target);
            Box::pin(async move { granted(manager.delegate(parent, request).await) })
        }
        Call::Validate(target) => {
            let token = prepared.token(target);
            Box::pin(async move { used(manager.validate(token).await) })
        }
        Call::Authorize => {
            let token = prepared.token(Target::A);
            let scope = Scope::parse("memory:read".into()).expect("the scope is valid");
            Box::pin(async move { used(manager.authorize(token, &scope).await) })
        }
        Call::ValidateMany => {
            let token = prepared.token(Target::A);
            let tokens = vec![Ok(token.clone()), Ok(token)];
            Box::pin(async move {
                match manager.validate_many(tokens).await {
                    Ok(results) => Answer::Many(results.into_iter().map(used).collect()),
                    Err(error) => Answer::Refused(error),
                }
            })
        }
        Call::Touch => {
            let id = prepared.id(Target::A);
            Box::pin(async move { answer(manager.touch(id).map(|()| String::new())) })
        }
        Call::Rotate => {
            let token = prepared.token(Target::A);
            Box::pin(async move { granted(manager.rotate(token).await) })
        }
        Call::RotateSuperseded => {
            let token = prepared.superseded.clone();
            let token = token.expect("A was rotated in the states with this call");
            Box::pin(async move { granted(manager.rotate(token).await) })
        }
        Call::Refresh(target) => {
            let id = prepared.id(target);
            Box::pin(async move { granted(manager.refresh(id).await) })
        }
        Call::Revoke(target) => {
            let id = prepared.id(target);
            Box::pin(async move { revoked(manager.revoke(id).await) })
        }
        Call::Invalidate => {
            let id = prepared.id(Target::A);
            Box::pin(async move { answer(manager.invalidate(id).map(|()| String::new())) })
        }
        Call::RevokeByToken => {
            let token = prepared.token(Target::A);
            Box::pin(async move { revoked(manager.revoke_by_token(token).await) })
        }
        Call::RevokeAgent => revoke_all(manager, RevokeFilter::Agent(agent(1))),
        Call::RevokeRole => revoke_all(manager, RevokeFilter::Role(role(Target::A.name()))),
        Call::RevokeMadeRole => revoke_all(manager, RevokeFilter::Role(role(&case.made_role()))),
        Call::RevokeRoot => revoke_all(manager, RevokeFilter::Root(prepared.id(Target::A))),
        Call::RevokeEverything => revoke_all(manager, RevokeFilter::Everything),
        Call::Prune => {
            Box::pin(async { Answer::Ok(format!("{} pruned", manager.prune_expired(None))) })
        }
        Call::Flush => Box::pin(async {
            manager.flush_guard_revocations().await;
            Answer::Flushed
        }),
        Call::FlushStored => {
            let stored = manager.stats().last_change;
            Box::pin(async move {
                match manager.flush_stored_revocations(stored).await {
                    Ok(_) => Answer::Flushed,
                    Err(error) => Answer::Refused(error),
                }
            })
        }
        Call::CloseRun => {
            Box::pin(async { answer(manager.close_event_run().map(|()| String::new())) })
        }
        Call::AcceptClock => Box::pin(async {
            let ended = manager.accept_clock().await;
            answer(ended.map(|ended| format!("{ended} ended")))
        }),
    }
}

/// Begins a call with a planted fault, if the fault is one of this call.
fn begin_planted<'m>(
    planted: Planted,
    call: Call,
    manager: &'m Manager,
    prepared: &Prepared,
    state: State,
) -> Option<InFlight<'m>> {
    let id = prepared.id(Target::A);
    let token = prepared.token(Target::A);
    let in_flight: InFlight<'m> = match (planted, call) {
        (Planted::ValidateBeforeTheWait, Call::Validate(Target::A)) => {
            let early = manager.get(id);
            Box::pin(async move { used(manager.validate(token).await.or(early)) })
        }
        (Planted::RenewalAfterConflict, Call::Refresh(Target::A)) => Box::pin(async move {
            match manager.refresh(id).await {
                Err(Error::Conflict) => granted(manager.refresh(id).await),
                result => granted(result),
            }
        }),
        (Planted::CreateAfterKillSwitch, Call::Create) => {
            let request = request(1, "created-0", state);
            Box::pin(async move {
                match manager.create(request.clone()).await {
                    Err(Error::SessionRevoked) => granted(manager.create(request).await),
                    result => granted(result),
                }
            })
        }
        (Planted::KillSwitchByListing, Call::RevokeAgent) => Box::pin(async {
            let listed = manager.list_for_agent(agent(1), None, None);
            let listed = listed.map_or(Vec::new(), |page| page.sessions);
            let mut ended = 0;
            for session in listed {
                ended += usize::from(manager.revoke(session.id).await.is_ok());
            }
            Answer::Ok(format!("{ended} ended"))
        }),
        (Planted::RevokeAfterTheGuard, Call::Revoke(Target::A)) => Box::pin(async move {
            // The answer of the guard arrives first.
            let _ = manager.validate(token).await;
            revoked(manager.revoke(id).await)
        }),
        (Planted::RotateIgnoresEnd, Call::Rotate) => {
            let mut session = prepared.first.session.clone();
            session.generation += 1;
            Box::pin(async move {
                match manager.rotate(token).await {
                    Err(Error::SessionRevoked) => used(Ok(session)),
                    result => granted(result),
                }
            })
        }
        _ => return None,
    };
    Some(in_flight)
}

fn revoke_all(manager: &Manager, filter: RevokeFilter) -> InFlight<'_> {
    Box::pin(async move { Answer::Ok(format!("{} ended", manager.revoke_all(filter).await)) })
}

fn granted(result: Result<Grant, Error>) -> Answer {
    used(result.map(|grant| grant.session))
}

fn used(result: Result<Session, Error>) -> Answer {
    let text = |it: Session| {
        let role = it.attributes.role.as_str();
        let expiry = it.expires_at.as_millis();
        format!(
            "{role}, generation {}, uses {:?}, until {expiry}",
            it.generation, it.uses_left
        )
    };
    answer(result.map(text))
}

fn revoked(result: Result<Revocation, Error>) -> Answer {
    answer(result.map(|it| format!("{} below it, guard {:?}", it.descendants, it.guard)))
}

fn answer(result: Result<String, Error>) -> Answer {
    match result {
        Ok(text) => Answer::Ok(text),
        Err(error) => Answer::Refused(error),
    }
}
