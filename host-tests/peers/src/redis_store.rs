//! `redis`: a Redis server on loopback, without persistence, which ends with this process.
//!
//! A session is stored as JSON under its id, until it expires. A set contains the ids of an agent's
//! sessions. The bearer token is a JSON Web Token. `validate` checks the signature, gets the
//! session and parses the JSON. A revocation needs the agent. A platform would know it; here it is
//! in a map. Calls are made one after the other on one connection. Concurrent callers share a
//! multiplexed connection.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_bench_protocol::batch;
use clawdb_session_bench_protocol::jwt::Signer;
use clawdb_session_bench_protocol::target::{
    CreatedSession, Metric, Operation, Target, TargetError, Timed,
};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, Session, keep_first, now};
use redis::aio::MultiplexedConnection;
use redis::{Client, Connection, Pipeline, RedisError, RedisResult, cmd, pipe};
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::redis_server::RedisServer;

/// Sessions in a server, and a connection to it.
pub struct RedisStore {
    connection: Connection,
    client: Client,
    signer: Arc<Signer>,
    /// The agents of the sessions, by the sessions' ids.
    agents: HashMap<Uuid, Uuid>,
    /// The first sessions, which concurrent callers validate.
    first: Vec<CreatedSession>,
    /// The memory of the server before the first session.
    initial_memory: f64,
    /// Dropping it ends the server.
    _server: RedisServer,
}

impl RedisStore {
    /// Starts a server.
    ///
    /// # Errors
    /// [`TargetError`] if the server cannot be started or connected to.
    pub fn start() -> Result<Self, TargetError> {
        let server = RedisServer::start()?;
        let client = Client::open(server.address()).map_err(TargetError::failed)?;
        let mut connection = client.get_connection().map_err(TargetError::failed)?;
        let initial_memory = used_memory(&mut connection)?;
        Ok(Self {
            connection,
            client,
            signer: Arc::default(),
            agents: HashMap::new(),
            first: Vec::new(),
            initial_memory,
            _server: server,
        })
    }

    fn create(&mut self, request: Request) -> Result<Session, TargetError> {
        let mut session = Session::new(request);
        session.token = self.signer.sign(&session)?;
        let mut commands = Pipeline::new();
        add_set(&mut commands, &session)?;
        let ids = agent_key(session.agent_id);
        commands
            .cmd("SADD")
            .arg(ids)
            .arg(session.id.to_string())
            .ignore();
        commands
            .exec(&mut self.connection)
            .map_err(refused(Operation::Create))?;
        Ok(session)
    }

    fn validate(&mut self, token: &str) -> Result<Session, TargetError> {
        let id = self.signer.verify(token);
        let id = id.map_err(TargetError::refused(Operation::Validate))?;
        self.get(Operation::Validate, id)
    }

    fn refresh(&mut self, id: Uuid) -> Result<String, TargetError> {
        let mut session = self.get(Operation::Refresh, id)?;
        session.expires_at = now() + LIFETIME;
        session.token = self.signer.sign(&session)?;
        let mut commands = Pipeline::new();
        add_set(&mut commands, &session)?;
        commands
            .exec(&mut self.connection)
            .map_err(refused(Operation::Refresh))?;
        Ok(session.token)
    }

    fn revoke(&mut self, id: Uuid, agent: Uuid) -> Result<(), TargetError> {
        let ended: Result<(u32, u32), _> = pipe()
            .cmd("DEL")
            .arg(key(id))
            .cmd("SREM")
            .arg(agent_key(agent))
            .arg(id.to_string())
            .query(&mut self.connection);
        match ended.map_err(refused(Operation::Revoke))? {
            (1, 1) => Ok(()),
            _ => Err(not_found(Operation::Revoke)),
        }
    }

    /// Ends all sessions of an agent and returns their ids.
    fn revoke_all_for_agent(&mut self, agent: Uuid) -> Result<Vec<String>, TargetError> {
        let refused = refused(Operation::RevokeAllForAgent);
        let agent_set = agent_key(agent);
        let ids: Vec<String> = cmd("SMEMBERS")
            .arg(&agent_set)
            .query(&mut self.connection)
            .map_err(&refused)?;
        if ids.is_empty() {
            return Err(not_found(Operation::RevokeAllForAgent));
        }
        let mut commands = Pipeline::new();
        for id in &ids {
            commands.cmd("DEL").arg(format!("session:{id}")).ignore();
        }
        commands.cmd("DEL").arg(agent_set).ignore();
        commands.exec(&mut self.connection).map_err(&refused)?;
        Ok(ids)
    }

    fn get(&mut self, operation: Operation, id: Uuid) -> Result<Session, TargetError> {
        let json = cmd("GET").arg(key(id)).query(&mut self.connection);
        read(operation, json)
    }

    /// Returns the number of validates per second that this many concurrent callers make, which
    /// share a connection.
    fn validate_rate(&self, callers: u32, time: Duration) -> Result<Option<f64>, TargetError> {
        let live = |session: &&CreatedSession| self.agents.contains_key(&session.id);
        let sessions = self.first.iter().filter(live);
        let tokens: Arc<[String]> = sessions.map(|session| session.token.clone()).collect();
        if tokens.is_empty() {
            return Ok(None);
        }
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.enable_all().build();
        runtime.map_err(TargetError::failed)?.block_on(async {
            let connection = self.client.get_multiplexed_async_connection().await;
            let connection = connection.map_err(TargetError::failed)?;
            let begun = Instant::now();
            let callers: Vec<_> = (0..callers)
                .map(|caller| {
                    let tokens = Arc::clone(&tokens);
                    let signer = Arc::clone(&self.signer);
                    let connection = connection.clone();
                    tokio::spawn(validate_until(
                        begun + time,
                        caller,
                        tokens,
                        signer,
                        connection,
                    ))
                })
                .collect();
            let mut calls = 0.0;
            for caller in callers {
                calls += caller.await.map_err(TargetError::failed)??;
            }
            Ok(Some(calls / begun.elapsed().as_secs_f64()))
        })
    }
}

impl Target for RedisStore {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<CreatedSession>> {
        let Some((sessions, took)) = batch::map(requests, |request| Self::create(self, request))?
        else {
            return Ok(None);
        };
        for session in &sessions {
            self.agents.insert(session.id, session.agent_id);
        }
        let created = batch::created_sessions(sessions);
        keep_first(&mut self.first, created.iter().cloned());
        Ok(Some((created, took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        batch::for_each(tokens, |token| Self::validate(self, &token))
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        batch::map(ids, |id| Self::refresh(self, id))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        let known = |id: Uuid| Some((id, self.agents.remove(&id)?));
        let Some(known) = ids.into_iter().map(known).collect::<Option<Vec<_>>>() else {
            return Err(not_found(Operation::Revoke));
        };
        batch::for_each(known, |(id, agent)| Self::revoke(self, id, agent))
    }

    fn revoke_all_for_agent(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        let ended = batch::map(agents, |agent| Self::revoke_all_for_agent(self, agent))?;
        Ok(ended.map(|(ids, took)| {
            for id in ids.iter().flatten().filter_map(|id| id.parse().ok()) {
                self.agents.remove(&id);
            }
            ((), took)
        }))
    }

    fn metric(&mut self, metric: Metric) -> Result<Option<f64>, TargetError> {
        match metric {
            Metric::Memory => Ok(Some(
                used_memory(&mut self.connection)? - self.initial_memory,
            )),
            Metric::ValidateRate {
                callers,
                milliseconds,
            } => self.validate_rate(callers, Duration::from_millis(milliseconds.into())),
            _ => Ok(None),
        }
    }
}

/// Validates tokens in turn until `end`. Returns the number of calls.
async fn validate_until(
    end: Instant,
    caller: u32,
    tokens: Arc<[String]>,
    signer: Arc<Signer>,
    mut connection: MultiplexedConnection,
) -> Result<f64, TargetError> {
    let refused = TargetError::refused(Operation::Validate);
    let first = usize::try_from(caller).unwrap_or(0) * 17;
    let mut calls = 0.0;
    for token in tokens.iter().cycle().skip(first % tokens.len()) {
        if Instant::now() >= end {
            break;
        }
        let id = signer.verify(token).map_err(&refused)?;
        let json: RedisResult<Option<Vec<u8>>> =
            cmd("GET").arg(key(id)).query_async(&mut connection).await;
        black_box(read(Operation::Validate, json)?);
        calls += 1.0;
    }
    Ok(calls)
}

/// Returns the memory that the server uses for data, in bytes.
fn used_memory(connection: &mut Connection) -> Result<f64, TargetError> {
    let info: String = cmd("INFO")
        .arg("memory")
        .query(connection)
        .map_err(TargetError::failed)?;
    let memory = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let memory = memory.and_then(|memory| memory.trim().parse().ok());
    memory.ok_or_else(|| TargetError::failed("Redis does not report its memory"))
}

fn key(session: Uuid) -> String {
    format!("session:{session}")
}

fn agent_key(agent: Uuid) -> String {
    format!("agent:{agent}")
}

/// Adds the command that stores a session until it expires.
fn add_set(commands: &mut Pipeline, session: &Session) -> Result<(), TargetError> {
    let json = serde_json::to_vec(session).map_err(TargetError::failed)?;
    let command = commands.cmd("SET").arg(key(session.id)).arg(json);
    command.arg("EX").arg(LIFETIME).ignore();
    Ok(())
}

/// Returns the session in Redis's reply.
fn read(operation: Operation, json: RedisResult<Option<Vec<u8>>>) -> Result<Session, TargetError> {
    let json = json.map_err(refused(operation))?;
    let json = json.ok_or_else(|| not_found(operation))?;
    serde_json::from_slice(&json).map_err(TargetError::failed)
}

fn refused(operation: Operation) -> impl Fn(RedisError) -> TargetError {
    move |error| TargetError::refused(operation)(error.to_string())
}

fn not_found(operation: Operation) -> TargetError {
    TargetError::refused(operation)("no such session".into())
}
