//! The token authority, as the core sees it.

use std::rc::Rc;

use crate::domain::error::GuardError;
use crate::domain::id::{AgentId, SessionId, WorkspaceId};
use crate::domain::session::Attributes;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;

/// The port: issues, checks and revokes bearer tokens. The WIT's `guard` interface says what each
/// answer means.
///
/// A future of it may stay pending for long. Nothing that was learnt before it is trusted after it.
#[expect(
    async_fn_in_trait,
    reason = "the component has one thread, so no future needs to be Send"
)]
pub trait Guard {
    /// Makes a token.
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError>;
    /// Checks a token.
    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError>;
    /// Checks 1 to 256 tokens. The results are in their order.
    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>>;
    /// Revokes 1 to 256 tokens by their handles. The results are in their order.
    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>>;
}

/// How many tokens or handles one call of the guard is about at most.
pub const MAX_BATCH: usize = 256;

/// What a token is wanted for.
#[derive(Clone, Debug)]
pub struct IssueRequest<'a> {
    /// The session that the token will stand for.
    pub session_id: SessionId,
    /// The session's agent.
    pub agent_id: AgentId,
    /// The workspace of the instance.
    pub workspace_id: WorkspaceId,
    /// Role, scopes and task type.
    pub attributes: &'a Attributes,
    /// When the token should expire.
    pub expires_at: Timestamp,
}

impl IssueRequest<'_> {
    /// On whose behalf (R4).
    #[must_use]
    pub fn principal(&self) -> String {
        let mut principal = String::from("agent:");
        principal.push_str(&String::from(self.agent_id));
        principal
    }

    /// For which task (R4).
    #[must_use]
    pub fn task(&self) -> &str {
        self.attributes
            .task_type
            .as_ref()
            .map_or("default", |task| task.as_str())
    }
}

/// A token as the guard returned it: not checked yet.
#[derive(Clone)]
pub struct IssuedToken {
    /// The bearer token.
    pub token: String,
    /// The guard's own name for it.
    pub handle: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The handle that the token was issued under.
    pub handle: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// Returns the guard's results for a batch of `items`. If their number differs, nothing tells which
/// result belongs to which item, and each item gets `unavailable`.
pub(crate) fn one_for_each<T>(
    items: usize,
    mut results: Vec<Result<T, GuardError>>,
) -> Vec<Result<T, GuardError>> {
    if results.len() != items {
        let error = wrong_number(items, results.len());
        results.clear();
        results.resize_with(items, || Err(error.clone()));
    }
    results
}

fn wrong_number(items: usize, results: usize) -> GuardError {
    GuardError::Unavailable(format!(
        "the guard gave {results} results for {items} items"
    ))
}
