//! A guard that records the tokens that it issues.

use std::sync::Mutex;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{Claims, GuardError, GuardResult, IssueRequest, IssuedToken, LocalGuard};

/// A guard that wraps the JWT guard, and records all tokens that it issues, among them those that
/// no caller receives.
pub struct RecordingGuard {
    inner: JwtGuard,
    issued: Mutex<Vec<String>>,
}

impl RecordingGuard {
    pub const fn new(inner: JwtGuard) -> Self {
        let issued = Mutex::new(Vec::new());
        Self { inner, issued }
    }

    /// Returns the tokens that were issued since the last call.
    pub fn take_issued(&self) -> Vec<String> {
        std::mem::take(&mut self.issued.lock().unwrap())
    }
}

impl LocalGuard for RecordingGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let issued = self.inner.issue_session_token(request)?;
        self.issued.lock().unwrap().push(issued.token.clone());
        Ok(issued)
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.inner.validate_token(token)
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.inner.revoke_token(handle)
    }

    fn validate_tokens(&self, tokens: Vec<String>) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        self.inner.validate_tokens(tokens)
    }

    fn revoke_tokens(&self, handles: Vec<String>) -> GuardResult<Vec<Result<(), GuardError>>> {
        self.inner.revoke_tokens(handles)
    }
}
