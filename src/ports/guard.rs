//! The guard: the token authority that the host provides.

use std::rc::Rc;

use crate::domain::error::GuardError;
use crate::domain::id::{AgentId, SessionId, WorkspaceId};
use crate::domain::session::Attributes;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;

/// The guard: issues, validates and revokes bearer tokens. The WIT interface `guard` documents each
/// answer.
///
/// A call may stay pending for long, and other calls change the state meanwhile. So an operation
/// does not rely after such a call on what it read before it.
#[expect(
    async_fn_in_trait,
    reason = "the component has one thread, so no future needs to be Send"
)]
pub trait Guard {
    /// Issues a token.
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError>;
    /// Validates a token.
    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError>;
    /// Validates 1 to 256 tokens. The results are in the order of the tokens.
    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>>;
    /// Revokes 1 to 256 tokens by their handles. The results are in the order of the handles.
    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>>;
}

/// The maximum number of tokens or handles in one call of the guard.
pub const MAX_BATCH: usize = 256;

/// A request for a token.
#[derive(Clone, Debug)]
pub struct IssueRequest<'a> {
    /// The session of the token.
    pub session_id: SessionId,
    /// The session's agent.
    pub agent_id: AgentId,
    /// The workspace of the instance.
    pub workspace_id: WorkspaceId,
    /// The attributes of the session. The guard gets the role, the scopes and the task type.
    pub attributes: &'a Attributes,
    /// When the token should expire (R8).
    pub expires_at: Timestamp,
}

impl IssueRequest<'_> {
    /// Returns the principal of the token: `agent:<agent-id>` (R4).
    #[must_use]
    pub fn principal(&self) -> String {
        let mut principal = String::from("agent:");
        principal.push_str(&String::from(self.agent_id));
        principal
    }

    /// Returns the task type of the session, or `default` if it has none (R4).
    #[must_use]
    pub fn task(&self) -> &str {
        self.attributes
            .task_type
            .as_ref()
            .map_or("default", |task| task.as_str())
    }
}

/// A token that the guard issued. Nothing in it has been checked.
#[derive(Clone)]
pub struct IssuedToken {
    /// The bearer token.
    pub token: String,
    /// The guard's name for the token.
    pub handle: String,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// The claims of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The handle that the token was issued with.
    pub handle: String,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// Returns the guard's results for a batch of this many items, one result for each. If the guard
/// returned another number of results, they cannot be matched to the items, and each item gets
/// `unavailable`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::Scopes;
    use crate::domain::session::{Metadata, Role, TaskType};

    #[test]
    fn r4_a_request_names_the_agent_and_the_task_type_or_default() {
        let agent = "0a9e0000-0000-4000-8000-000000000001";
        for (task_type, task) in [(Some("research"), "research"), (None, "default")] {
            let attributes = Attributes {
                role: Role::parse("worker".into()).unwrap(),
                scopes: Scopes::parse(&[]).unwrap(),
                task_type: task_type.map(|text| TaskType::parse(text.into()).unwrap()),
                metadata: Metadata::default(),
            };
            let request = IssueRequest {
                session_id: SessionId::from_random([7; 16]),
                agent_id: AgentId::parse("agent-id", agent).unwrap(),
                workspace_id: WorkspaceId::NIL,
                attributes: &attributes,
                expires_at: Timestamp::MAX,
            };
            assert_eq!(request.principal(), format!("agent:{agent}"));
            assert_eq!(request.task(), task);
        }
    }
}
