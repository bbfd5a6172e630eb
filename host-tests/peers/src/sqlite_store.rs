//! `SQLite` through `rusqlite`: a table with indexes by the token's hash, the agent and the expiry.
//!
//! The bearer token is a JSON Web Token. Validating it checks the signature, looks up its SHA-256 and
//! compares the expiry. The table does not have the token itself, and a refresh replaces its hash, so
//! that the old token is not good any more. Each statement is a transaction of its own, and is
//! prepared once.

use clawdb_session_bench_protocol::batch;
use clawdb_session_bench_protocol::jwt::Signer;
use clawdb_session_bench_protocol::target::{Contestant, Failure, Granted, Operation, Timed};
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

/// A database.
pub struct Sqlite {
    connection: Connection,
    signer: Signer,
    /// The file's folder, which is removed in the end.
    _folder: Option<TempDir>,
}

impl Sqlite {
    /// A database in memory.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be set up.
    pub fn in_memory() -> Result<Self, Failure> {
        let connection = Connection::open_in_memory().map_err(Failure::broken)?;
        Self::set_up(connection, None)
    }

    /// A database in a file of a temporary folder, with a write-ahead log that is on the disk before a
    /// call returns.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be set up.
    pub fn in_file() -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::broken)?;
        let connection = Connection::open(folder.path().join("sessions.db"));
        let connection = connection.map_err(Failure::broken)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(Failure::broken)?;
        Self::set_up(connection, Some(folder))
    }

    fn set_up(connection: Connection, folder: Option<TempDir>) -> Result<Self, Failure> {
        connection.execute_batch(TABLE).map_err(Failure::broken)?;
        Ok(Self {
            connection,
            signer: Signer::default(),
            _folder: folder,
        })
    }

    fn make(&self, request: Request) -> Result<Session, Failure> {
        let mut session = Session::new(request);
        session.token = self.signer.sign(&session)?;
        let scopes = serde_json::to_string(&session.scopes).map_err(Failure::broken)?;
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

    fn look_up(&self, token: String) -> Result<Session, Failure> {
        let refused = Failure::refused(Operation::Validate);
        self.signer.verify(&token).map_err(&refused)?;
        let mut session = self.one(Operation::Validate, BY_TOKEN, [hash(&token)])?;
        if session.expires_at <= now() {
            return Err(refused("it has expired".into()));
        }
        session.token = token;
        Ok(session)
    }

    fn replace_token(&self, id: Uuid) -> Result<String, Failure> {
        let mut session = self.one(Operation::Refresh, BY_ID, [id])?;
        session.expires_at = now() + LIFETIME;
        let token = self.signer.sign(&session)?;
        let values = params![id, hash(&token), session.expires_at];
        self.change(Operation::Refresh, NEW_TOKEN, values)?;
        Ok(token)
    }

    /// The session that a statement finds.
    fn one(
        &self,
        operation: Operation,
        statement: &str,
        values: impl Params,
    ) -> Result<Session, Failure> {
        let statement = self.connection.prepare_cached(statement);
        statement
            .and_then(|mut statement| statement.query_row(values, session))
            .map_err(|error| Failure::refused(operation)(error.to_string()))
    }

    /// How many sessions a statement changes; not one is an error.
    fn change(
        &self,
        operation: Operation,
        statement: &str,
        values: impl Params,
    ) -> Result<usize, Failure> {
        match self.execute(operation, statement, values)? {
            0 => Err(Failure::refused(operation)("no such session".into())),
            changed => Ok(changed),
        }
    }

    /// How many sessions a statement changes.
    fn execute(
        &self,
        operation: Operation,
        statement: &str,
        values: impl Params,
    ) -> Result<usize, Failure> {
        let statement = self.connection.prepare_cached(statement);
        statement
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| Failure::refused(operation)(error.to_string()))
    }

    /// Ends the sessions that a statement finds for each of these ids.
    fn delete(&mut self, operation: Operation, statement: &str, ids: Vec<Uuid>) -> Timed<()> {
        batch::each(ids, |id| self.change(operation, statement, [id]))
    }
}

impl Contestant for Sqlite {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<Granted>> {
        let made = batch::all(requests, |request| self.make(request))?;
        Ok(made.map(|(sessions, took)| (batch::granted(sessions), took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        batch::each(tokens, |token| self.look_up(token))
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        batch::all(ids, |id| self.replace_token(id))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        self.delete(Operation::Revoke, REVOKE, ids)
    }

    fn revoke_agents(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        self.delete(Operation::RevokeAgent, REVOKE_AGENT, agents)
    }

    fn prune(&mut self, calls: u32) -> Timed<()> {
        batch::each((0..calls).collect(), |_| {
            self.execute(Operation::Prune, PRUNE, [now()])
        })
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// A row of the table; its token is not there.
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
