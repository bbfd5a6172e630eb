//! `SQLite` through `rusqlite`: a table with indexes by the token's hash, the agent and the expiry.
//!
//! The bearer token is a JSON Web Token. `validate` checks the signature, looks up the token's
//! SHA-256 and compares the expiry. The table does not contain the token. A refresh replaces the
//! hash, so that the old token becomes invalid. Each statement is a separate transaction and is
//! prepared once.

use clawdb_session_bench_protocol::batch;
use clawdb_session_bench_protocol::jwt::Signer;
use clawdb_session_bench_protocol::target::{
    CreatedSession, Operation, Target, TargetError, Timed,
};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, Session, now};
use rusqlite::types::Type;
use rusqlite::{Connection, Params, Row, params};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use uuid::Uuid;

const TABLE: &str = "
    CREATE TABLE sessions (
        id BLOB PRIMARY KEY,
        token_hash BLOB NOT NULL UNIQUE,
        agent_id BLOB NOT NULL,
        workspace_id BLOB NOT NULL,
        role TEXT NOT NULL,
        scopes TEXT NOT NULL,
        task_type TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        metadata TEXT NOT NULL
    );
    CREATE INDEX sessions_by_agent ON sessions (agent_id);
    CREATE INDEX sessions_by_expiry ON sessions (expires_at);";
const INSERT: &str = "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const BY_TOKEN: &str = "SELECT * FROM sessions WHERE token_hash = ?1";
const BY_ID: &str = "SELECT * FROM sessions WHERE id = ?1";
const NEW_TOKEN: &str = "UPDATE sessions SET token_hash = ?2, expires_at = ?3 WHERE id = ?1";
const REVOKE: &str = "DELETE FROM sessions WHERE id = ?1";
const REVOKE_AGENT: &str = "DELETE FROM sessions WHERE agent_id = ?1";
const PRUNE: &str = "DELETE FROM sessions WHERE expires_at <= ?1";

/// Sessions in a database.
pub struct SqliteStore {
    connection: Connection,
    signer: Signer,
    /// The folder of the file, which is removed when this is dropped.
    _folder: Option<TempDir>,
}

impl SqliteStore {
    /// Opens a database in memory.
    ///
    /// # Errors
    /// [`TargetError`] if it cannot be set up.
    pub fn in_memory() -> Result<Self, TargetError> {
        let connection = Connection::open_in_memory().map_err(TargetError::failed)?;
        Self::set_up(connection, None)
    }

    /// Opens a database in a file of a temporary folder, with a write-ahead log that is on the disk
    /// before a call returns.
    ///
    /// # Errors
    /// [`TargetError`] if it cannot be set up.
    pub fn in_file() -> Result<Self, TargetError> {
        let folder = tempfile::tempdir().map_err(TargetError::failed)?;
        let connection = Connection::open(folder.path().join("sessions.db"));
        let connection = connection.map_err(TargetError::failed)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(TargetError::failed)?;
        Self::set_up(connection, Some(folder))
    }

    fn set_up(connection: Connection, folder: Option<TempDir>) -> Result<Self, TargetError> {
        connection
            .execute_batch(TABLE)
            .map_err(TargetError::failed)?;
        Ok(Self {
            connection,
            signer: Signer::default(),
            _folder: folder,
        })
    }

    fn create(&self, request: Request) -> Result<Session, TargetError> {
        let mut session = Session::new(request);
        session.token = self.signer.sign(&session)?;
        let scopes = serde_json::to_string(&session.scopes).map_err(TargetError::failed)?;
        let values = params![
            session.id,
            hash(&session.token),
            session.agent_id,
            session.workspace_id,
            session.role,
            scopes,
            session.task_type,
            session.created_at,
            session.expires_at,
            session.metadata,
        ];
        self.change(Operation::Create, INSERT, values)?;
        Ok(session)
    }

    fn validate(&self, token: String) -> Result<Session, TargetError> {
        let refused = TargetError::refused(Operation::Validate);
        self.signer.verify(&token).map_err(&refused)?;
        let mut session = self.select(Operation::Validate, BY_TOKEN, [hash(&token)])?;
        if session.expires_at <= now() {
            return Err(refused("the session has expired".into()));
        }
        session.token = token;
        Ok(session)
    }

    fn refresh(&self, id: Uuid) -> Result<String, TargetError> {
        let mut session = self.select(Operation::Refresh, BY_ID, [id])?;
        session.expires_at = now() + LIFETIME;
        let token = self.signer.sign(&session)?;
        let values = params![id, hash(&token), session.expires_at];
        self.change(Operation::Refresh, NEW_TOKEN, values)?;
        Ok(token)
    }

    /// Returns the session that a statement finds.
    fn select(
        &self,
        operation: Operation,
        statement: &str,
        values: impl Params,
    ) -> Result<Session, TargetError> {
        let statement = self.connection.prepare_cached(statement);
        statement
            .and_then(|mut statement| statement.query_row(values, session))
            .map_err(|error| TargetError::refused(operation)(error.to_string()))
    }

    /// Returns the number of sessions that a statement changes. It is an error if it changes none.
    fn change(
        &self,
        operation: Operation,
        statement: &str,
        values: impl Params,
    ) -> Result<usize, TargetError> {
        match self.execute(operation, statement, values)? {
            0 => Err(TargetError::refused(operation)("no such session".into())),
            changed => Ok(changed),
        }
    }

    /// Returns the number of sessions that a statement changes.
    fn execute(
        &self,
        operation: Operation,
        statement: &str,
        values: impl Params,
    ) -> Result<usize, TargetError> {
        let statement = self.connection.prepare_cached(statement);
        statement
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| TargetError::refused(operation)(error.to_string()))
    }

    /// Deletes the sessions that a statement finds for each of these ids.
    fn delete(&mut self, operation: Operation, statement: &str, ids: Vec<Uuid>) -> Timed<()> {
        batch::for_each(ids, |id| self.change(operation, statement, [id]))
    }
}

impl Target for SqliteStore {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        let created = batch::map(requests, |request| Self::create(self, request))?;
        Ok(created.map(|(sessions, took)| (batch::created_sessions(sessions), took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        batch::for_each(tokens, |token| Self::validate(self, token))
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        batch::map(ids, |id| Self::refresh(self, id))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        self.delete(Operation::Revoke, REVOKE, ids)
    }

    fn revoke_all_for_agent(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        self.delete(Operation::RevokeAllForAgent, REVOKE_AGENT, agents)
    }

    fn prune(&mut self, calls: u32) -> Timed<()> {
        batch::for_each((0..calls).collect(), |_| {
            self.execute(Operation::Prune, PRUNE, [now()])
        })
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Returns the session of a row. Its token is empty, because the table does not contain it.
fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    let scopes = row.get_ref(5)?.as_str()?;
    let scopes = serde_json::from_str(scopes)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(5, Type::Text, error.into()))?;
    Ok(Session {
        id: row.get(0)?,
        agent_id: row.get(2)?,
        workspace_id: row.get(3)?,
        role: row.get(4)?,
        scopes,
        task_type: row.get(6)?,
        created_at: row.get(7)?,
        expires_at: row.get(8)?,
        metadata: row.get(9)?,
        token: String::new(),
    })
}
