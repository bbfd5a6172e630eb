//! `claw-guard`: version 0.1.2 of `ClawDB`'s token authority, with sessions in `SQLite` and JSON
//! Web Tokens.
//!
//! The database is in memory and has one connection, which is the fastest configuration. It stores
//! agent, workspace, role and scopes, but no task and no metadata. It cannot refresh, end all
//! sessions of an agent, or prune. It keeps the rows of revoked sessions; here they are deleted
//! outside the measured time, so that the table keeps its size.

use std::sync::Arc;
use std::time::Instant;

use claw_guard::session::SessionManager;
use claw_guard::{Guard, GuardConfig};
use clawdb_session_bench_protocol::target::{
    CreatedSession, Operation, Target, TargetError, Timed,
};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, WORKSPACE};
use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// The session manager of `claw-guard`, and the runtime that its calls run in.
pub struct ClawGuardSessions {
    runtime: Runtime,
    sessions: SessionManager,
    pool: SqlitePool,
}

impl ClawGuardSessions {
    /// Opens an empty database in memory.
    ///
    /// # Errors
    /// [`TargetError`] if it cannot be set up.
    pub fn start() -> Result<Self, TargetError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(TargetError::failed)?;
        let (sessions, pool) = runtime.block_on(open_database())?;
        Ok(Self {
            runtime,
            sessions,
            pool,
        })
    }
}

/// Sets the database up. `claw-guard` opens five connections, and each would have a different
/// database in memory. So it creates its tables in a file. They are then created in a database in
/// memory with one connection, which is never closed.
async fn open_database() -> Result<(SessionManager, SqlitePool), TargetError> {
    let folder = tempfile::tempdir().map_err(TargetError::failed)?;
    let config = GuardConfig {
        db_path: folder.path().join("guard.db"),
        jwt_secret: secrecy::SecretString::from("a secret of more than thirty-two bytes"),
        policy_dir: None,
        sensitive_resources: Vec::new(),
        audit_flush_interval_ms: 100,
        audit_batch_size: 500,
        business_hours_start_hour: 0,
        business_hours_end_hour: 24,
    };
    let guard = Guard::new(config.clone())
        .await
        .map_err(TargetError::failed)?;
    let tables = "SELECT sql FROM sqlite_master WHERE tbl_name = 'sessions' AND sql IS NOT NULL";
    let tables: Vec<String> = sqlx::query_scalar(tables)
        .fetch_all(guard.pool())
        .await
        .map_err(TargetError::failed)?;
    guard.pool().close().await;

    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect("sqlite::memory:")
        .await
        .map_err(TargetError::failed)?;
    for statement in &tables {
        let done = sqlx::query(statement).execute(&pool).await;
        done.map_err(TargetError::failed)?;
    }
    Ok((SessionManager::new(pool.clone(), Arc::new(config)), pool))
}

impl Target for ClawGuardSessions {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        self.runtime.block_on(async {
            let mut sessions = Vec::with_capacity(requests.len());
            let begun = Instant::now();
            for request in requests {
                let Request {
                    agent_id: agent,
                    role,
                    scopes,
                    ..
                } = request;
                let created = self
                    .sessions
                    .create_session(agent, WORKSPACE, &role, scopes, LIFETIME);
                sessions.push(created.await.map_err(refused(Operation::Create))?);
            }
            let took = begun.elapsed();
            let created = sessions.into_iter().map(|session| CreatedSession {
                id: session.id,
                token: session.token,
            });
            Ok(Some((created.collect(), took)))
        })
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        self.runtime.block_on(async {
            let begun = Instant::now();
            for token in tokens {
                let session = self.sessions.validate_session(&token).await;
                session.map_err(refused(Operation::Validate))?;
            }
            Ok(Some(((), begun.elapsed())))
        })
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        self.runtime.block_on(async {
            let begun = Instant::now();
            for &id in &ids {
                let revoked = self.sessions.revoke_session(id).await;
                revoked.map_err(refused(Operation::Revoke))?;
            }
            let took = begun.elapsed();
            for id in ids {
                let row = sqlx::query("DELETE FROM sessions WHERE id = ?1 AND revoked = 1");
                let deleted = row.bind(id.to_string()).execute(&self.pool).await;
                if deleted.map_err(TargetError::failed)?.rows_affected() != 1 {
                    let refused = TargetError::refused(Operation::Revoke);
                    return Err(refused("no such session".into()));
                }
            }
            Ok(Some(((), took)))
        })
    }
}

fn refused(operation: Operation) -> impl Fn(claw_guard::GuardError) -> TargetError {
    move |error| TargetError::refused(operation)(error.to_string())
}
