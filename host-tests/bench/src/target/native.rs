//! The core of the component as native code. Like the component, it gets ids and attributes as
//! texts and parses them.

use std::hint::black_box;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use clawdb_session::{
    AgentId, Attributes, Claims, Clock, Config, CreateRequest, Error, Grant, Guard, GuardError,
    IssueRequest, IssuedToken, MaxUses, Metadata, RevokeFilter, Role, Scopes, SessionId,
    SessionManager, SystemEntropy, TaskType, Timestamp, Token, WorkspaceId,
};
use clawdb_session_bench_protocol::target::{CreatedSession, Metric, Operation, TargetError};
use clawdb_session_host::CreateRequest as TextRequest;

use super::calls::{Caller, Calls, SessionTarget, at_once, config};
use super::failed;
use super::guard::AllowAllGuard;

/// A session manager.
pub struct Core(SessionManager<NativeGuard, SystemClock, SystemEntropy>);

/// Returns a session manager for up to ten million sessions.
pub fn start() -> Result<SessionTarget<Core>, TargetError> {
    let manager = SessionManager::new(NativeGuard::default(), SystemClock, SystemEntropy);
    let config = config();
    let workspace = config.workspace_id;
    let workspace = workspace.map(|id| WorkspaceId::parse("workspace-id", &id));
    let config = Config {
        workspace_id: workspace.transpose().map_err(failed)?,
        max_sessions: config.max_sessions,
        max_state_bytes: config.max_state_bytes,
        ..Config::default()
    };
    manager.configure(&config).map_err(failed)?;
    Ok(SessionTarget(Core(manager)))
}

/// The guard of the component's targets, without a conversion of its requests and answers.
#[derive(Default)]
struct NativeGuard(AllowAllGuard);

fn claims(token: &Token) -> Claims {
    Claims {
        handle: AllowAllGuard::handle(token.expose()),
        expires_at: Timestamp::MAX,
    }
}

impl Guard for NativeGuard {
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError> {
        let token = self.0.next_token();
        Ok(IssuedToken {
            handle: AllowAllGuard::handle(&token),
            token,
            expires_at: request.expires_at,
        })
    }

    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError> {
        Ok(claims(&token))
    }

    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>> {
        tokens.iter().map(|token| Ok(claims(token))).collect()
    }

    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>> {
        vec![Ok(()); handles.len()]
    }
}

/// The machine's clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Option<Timestamp> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Timestamp::from_unix(i64::try_from(time.as_secs()).ok()?, time.subsec_nanos())
    }
}

impl Caller for Core {
    type Calls<'a> = Self;

    fn run<R>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<R, TargetError>,
    ) -> Result<R, TargetError> {
        at_once(work(self))
    }

    fn metric(&mut self, _metric: Metric) -> Result<Option<f64>, TargetError> {
        Ok(None)
    }
}

/// Returns the function that converts the error of an operation.
fn refused(operation: Operation) -> impl Fn(Error) -> TargetError {
    move |error| TargetError::refused(operation)(error.to_string())
}

/// Parses a request, as the component does.
fn parse(request: TextRequest) -> Result<CreateRequest, Error> {
    let metadata = request.metadata.map(Metadata::parse).transpose()?;
    Ok(CreateRequest {
        agent_id: AgentId::parse("agent-id", &request.agent_id)?,
        attributes: Attributes {
            role: Role::parse(request.role)?,
            scopes: Scopes::parse(&request.scopes)?,
            task_type: request.task_type.map(TaskType::parse).transpose()?,
            metadata: metadata.unwrap_or_default(),
        },
        expires_in: request.expires_in,
        max_uses: request.max_uses.map(MaxUses::new).transpose()?,
    })
}

impl Calls for Core {
    type Grant = Grant;

    async fn create(&mut self, request: TextRequest) -> Result<Grant, TargetError> {
        let refused = refused(Operation::Create);
        let request = parse(request).map_err(&refused)?;
        self.0.create(request).await.map_err(&refused)
    }

    async fn validate(&mut self, token: String) -> Result<(), TargetError> {
        let refused = refused(Operation::Validate);
        let token = Token::parse(token).map_err(&refused)?;
        drop(black_box(self.0.validate(token).await.map_err(&refused)?));
        Ok(())
    }

    async fn validate_many(&mut self, tokens: Vec<String>) -> Result<(), TargetError> {
        let refused = refused(Operation::ValidateMany);
        let tokens = tokens.into_iter().map(Token::parse).collect();
        let answers = self.0.validate_many(tokens).await.map_err(&refused)?;
        for answer in black_box(answers) {
            answer.map_err(&refused)?;
        }
        Ok(())
    }

    async fn refresh(&mut self, session_id: String) -> Result<String, TargetError> {
        let refused = refused(Operation::Refresh);
        let id = SessionId::parse("session-id", &session_id).map_err(&refused)?;
        let grant = black_box(self.0.refresh(id).await.map_err(&refused)?);
        Ok(grant.token.into_exposed())
    }

    async fn revoke(&mut self, session_id: String) -> Result<(), TargetError> {
        let refused = refused(Operation::Revoke);
        let id = SessionId::parse("session-id", &session_id).map_err(&refused)?;
        drop(black_box(self.0.revoke(id).await.map_err(&refused)?));
        Ok(())
    }

    async fn revoke_all_for_agent(&mut self, agent_id: String) -> Result<usize, TargetError> {
        let id = AgentId::parse("agent-id", &agent_id);
        let id = id.map_err(refused(Operation::RevokeAllForAgent))?;
        Ok(self.0.revoke_all(RevokeFilter::Agent(id)).await)
    }

    async fn prune_expired(&mut self) -> Result<(), TargetError> {
        black_box(self.0.prune_expired(None));
        Ok(())
    }

    async fn active_count(&mut self) -> Result<(), TargetError> {
        black_box(self.0.active_count());
        Ok(())
    }

    fn created(grant: Grant) -> Result<CreatedSession, TargetError> {
        Ok(CreatedSession {
            id: String::from(grant.session.id).parse().map_err(failed)?,
            token: grant.token.into_exposed(),
        })
    }
}
