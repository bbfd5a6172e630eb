//! A guard with a table of its tokens, and a host that uses it.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdb_session_host::{
    Claims, Clock, CreateRequest, GuardError, GuardResult, IssueRequest, IssuedToken, LocalEngine,
    LocalGuard, LocalOptions, LocalSessions, SystemClock,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A guard whose tokens are `<handle>.<secret>`. Its table has a hash of each token, so the table
/// is of no use to a thief.
pub struct TableGuard {
    rows: Mutex<HashMap<String, Row>>,
    clock: Arc<dyn Clock>,
}

struct Row {
    /// The hash of the token.
    token: [u8; 32],
    expires_at: u64,
}

impl TableGuard {
    /// Returns a guard without tokens. Its clock must be the one of the component.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let rows = Mutex::default();
        Self { rows, clock }
    }

    /// Returns how many tokens are valid or have expired, and were not revoked.
    pub fn token_count(&self) -> usize {
        self.rows().len()
    }

    /// Drops the rows of tokens that have expired. A host calls it regularly.
    pub fn drop_expired(&self) {
        let now = self.clock.now_millis();
        self.rows().retain(|_, row| now < row.expires_at);
    }

    /// Returns the table. Each function leaves it complete, so it can be used after a panic.
    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalGuard for TableGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let handle = Uuid::new_v4().to_string();
        let token = format!("{handle}.{}", Uuid::new_v4());
        let expires_at = request.expires_at;
        let row = Row {
            token: hash(&token),
            expires_at,
        };
        self.rows().insert(handle.clone(), row);
        Ok(IssuedToken {
            token,
            handle,
            expires_at,
        })
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        let (handle, _) = token.split_once('.').ok_or(GuardError::InvalidToken)?;
        let rows = self.rows();
        let row = rows.get(handle).ok_or(GuardError::InvalidToken)?;
        // The time of this comparison tells something about the hash, but not about the token.
        if row.token != hash(&token) {
            return Err(GuardError::InvalidToken.into());
        }
        if row.expires_at <= self.clock.now_millis() {
            return Err(GuardError::Expired.into());
        }
        Ok(Claims {
            handle: handle.into(),
            expires_at: row.expires_at,
        })
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.rows().remove(&handle);
        Ok(())
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let guard = Arc::new(TableGuard::new(Arc::new(SystemClock)));
    let options = LocalOptions::with_shared_guard(guard.clone());
    let sessions = LocalSessions::start(&LocalEngine::new()?, options)?;

    let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
    let request = CreateRequest::new(agent, "researcher").with_scopes(["memory:read"]);
    let grant = sessions.create(request)?;
    let session = sessions.validate(grant.token.clone())?;
    writeln!(
        out,
        "{} may {}",
        session.agent_id,
        session.scopes.join(" and ")
    )?;

    // The component asks the guard to revoke the tokens of the sessions that it ends.
    let ended = sessions.revoke_all_for_agent(agent)?;
    writeln!(
        out,
        "{ended} session ended; the guard has {} tokens",
        guard.token_count()
    )?;
    if let Err(refusal) = sessions.validate(grant.token) {
        writeln!(out, "the token now: {refusal}")?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout())
}
