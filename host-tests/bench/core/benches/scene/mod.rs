//! What the benches of the core share: a guard that answers at once, a clock that stands still, random bytes
//! that are the same each time, and the sessions that are asked for.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use clawdb_session::{
    AgentId, Attributes, Claims, Clock, CreateRequest, Entropy, EntropyUnavailable, Grant, Guard,
    GuardError, IssueRequest, IssuedToken, Metadata, Role, Scopes, SessionManager, Timestamp,
    Token,
};

/// How many sessions an agent has.
pub const PER_AGENT: u64 = 10;

pub type Manager = SessionManager<Prompt, Still, Repeatable>;

/// A guard that answers at once. A token ends in its handle; it is short, because the figures are to
/// show the core and not SHA-256.
#[derive(Default)]
pub struct Prompt {
    issued: Cell<u64>,
}

const HANDLE: usize = 16;
const TOKEN: usize = 40;

fn handle_of(token: &str) -> String {
    token[TOKEN - HANDLE..].into()
}

impl Guard for Prompt {
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError> {
        self.issued.set(self.issued.get() + 1);
        let token = format!("{:0>TOKEN$x}", self.issued.get());
        Ok(IssuedToken {
            handle: handle_of(&token),
            token,
            expires_at: request.expires_at,
        })
    }

    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError> {
        Ok(Claims {
            handle: handle_of(token.expose()),
            expires_at: Timestamp::MAX,
        })
    }

    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>> {
        let claims = |token: Token| Claims {
            handle: handle_of(token.expose()),
            expires_at: Timestamp::MAX,
        };
        tokens.into_iter().map(claims).map(Ok).collect()
    }

    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>> {
        vec![Ok(()); handles.len()]
    }
}

/// A clock that stands still.
pub struct Still;

impl Clock for Still {
    fn now(&self) -> Option<Timestamp> {
        Some(Timestamp::from_millis(1_893_456_000_000))
    }
}

/// Random bytes that are the same each time (splitmix64).
#[derive(Default)]
pub struct Repeatable(Cell<u64>);

impl Entropy for Repeatable {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyUnavailable> {
        for part in bytes.chunks_mut(8) {
            self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
            let mut mixed = self.0.get();
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            part.copy_from_slice(&mixed.to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}

/// The end of a call that need not wait.
pub fn end_of<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => end,
        Poll::Pending => unreachable!("the guard answers at once"),
    }
}

pub fn agent(number: u64) -> AgentId {
    let id = format!("0a9e0000-0000-4000-8000-{number:012x}");
    AgentId::parse("agent-id", &id).expect("it is a UUID")
}

pub fn request(number: u64) -> CreateRequest {
    let scopes = ["memory:read", "memory:write", "tool:search", "tool:fetch"].map(String::from);
    let metadata = format!("{{\"purpose\":\"{:a>80}\"}}", "");
    CreateRequest {
        agent_id: agent(number / PER_AGENT),
        attributes: Attributes {
            role: Role::parse("worker".into()).expect("it is a role"),
            scopes: Scopes::parse(&scopes).expect("they are scopes"),
            task_type: None,
            metadata: Metadata::parse(metadata).expect("it is JSON"),
        },
        expires_in: None,
        max_uses: None,
    }
}

/// A manager with so many sessions; each is told of.
pub fn filled(sessions: u64, mut tell: impl FnMut(u64, Grant)) -> Manager {
    let manager = Manager::new(Prompt::default(), Still, Repeatable::default());
    for number in 0..sessions {
        tell(
            number,
            end_of(manager.create(request(number))).expect("there is room"),
        );
    }
    manager
}
