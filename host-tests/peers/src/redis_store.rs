//! Redis on loopback, without persistence, in a server of its own that ends with this process.
//!
//! A session is JSON under its id, and expires with its time; an agent's sessions are a set of ids.
//! The bearer token is a JSON Web Token. Validating it checks the signature, gets the session and
//! reads the JSON. Callers tell the agent when they revoke, so that one trip to the server is enough;
//! here it comes from a map. One connection, one call after the other; many callers share a
//! multiplexed one.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_bench_protocol::batch;
use clawdb_session_bench_protocol::jwt::Signer;
use clawdb_session_bench_protocol::target::{
    Contestant, Failure, Figure, Granted, Operation, Timed,
};
use clawdb_session_bench_protocol::workload::{LIFETIME, Request, Session, keep_first, now};
use redis::aio::MultiplexedConnection;
use redis::{Client, Connection, Pipeline, RedisError, RedisResult, cmd, pipe};
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::redis_server::Server;

/// A server and a connection to it.
pub struct Redis {
    connection: Connection,
    client: Client,
    signer: Arc<Signer>,
    /// The agents of the sessions that there are.
    agents: HashMap<Uuid, Uuid>,
    /// The first sessions that were made.
    first: Vec<Granted>,
    /// The memory of the server before the first session.
    at_first: f64,
    /// It ends when this is dropped.
    _server: Server,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be started or connected to.
    pub fn start() -> Result<Self, Failure> {
        let server = Server::start()?;
        let client = Client::open(server.address()).map_err(Failure::broken)?;
        let mut connection = client.get_connection().map_err(Failure::broken)?;
        let at_first = used_memory(&mut connection)?;
        Ok(Self {
            connection,
            client,
            signer: Arc::default(),
            agents: HashMap::new(),
            first: Vec::new(),
            at_first,
            _server: server,
        })
    }

    fn make(&mut self, request: Request) -> Result<Session, Failure> {
        let mut session = Session::new(request);
        session.token = self.signer.sign(&session)?;
        let mut commands = Pipeline::new();
        set(&mut commands, &session)?;
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

    fn look_up(&mut self, token: &str) -> Result<Session, Failure> {
        let id = self.signer.verify(token);
        let id = id.map_err(Failure::refused(Operation::Validate))?;
        self.get(Operation::Validate, id)
    }

    fn replace_token(&mut self, id: Uuid) -> Result<String, Failure> {
        let mut session = self.get(Operation::Refresh, id)?;
        session.expires_at = now() + LIFETIME;
        session.token = self.signer.sign(&session)?;
        let mut commands = Pipeline::new();
        set(&mut commands, &session)?;
        commands
            .exec(&mut self.connection)
            .map_err(refused(Operation::Refresh))?;
        Ok(session.token)
    }

    fn end(&mut self, id: Uuid, agent: Uuid) -> Result<(), Failure> {
        let ended: Result<(u32, u32), _> = pipe()
            .cmd("DEL")
            .arg(key(id))
            .cmd("SREM")
            .arg(agent_key(agent))
            .arg(id.to_string())
            .query(&mut self.connection);
        match ended.map_err(refused(Operation::Revoke))? {
            (1, 1) => Ok(()),
            _ => Err(none(Operation::Revoke)),
        }
    }

    /// Ends all sessions of an agent, and gives their ids.
    fn end_agent(&mut self, agent: Uuid) -> Result<Vec<String>, Failure> {
        let refused = refused(Operation::RevokeAgent);
        let set = agent_key(agent);
        let ids: Vec<String> = cmd("SMEMBERS")
            .arg(&set)
            .query(&mut self.connection)
            .map_err(&refused)?;
        if ids.is_empty() {
            return Err(none(Operation::RevokeAgent));
        }
        let mut commands = Pipeline::new();
        for id in &ids {
            commands.cmd("DEL").arg(format!("session:{id}")).ignore();
        }
        commands.cmd("DEL").arg(set).ignore();
        commands.exec(&mut self.connection).map_err(&refused)?;
        Ok(ids)
    }

    fn get(&mut self, operation: Operation, id: Uuid) -> Result<Session, Failure> {
        let json = cmd("GET").arg(key(id)).query(&mut self.connection);
        read(operation, json)
    }

    /// Calls of `validate` a second by so many callers, who share a connection.
    fn rate(&self, callers: u32, time: Duration) -> Result<Option<f64>, Failure> {
        let there = |granted: &&Granted| self.agents.contains_key(&granted.id);
        let tokens = self.first.iter().filter(there);
        let tokens: Arc<[String]> = tokens.map(|granted| granted.token.clone()).collect();
        if tokens.is_empty() {
            return Ok(None);
        }
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.enable_all().build();
        runtime.map_err(Failure::broken)?.block_on(async {
            let connection = self.client.get_multiplexed_async_connection().await;
            let connection = connection.map_err(Failure::broken)?;
            let begun = Instant::now();
            let callers: Vec<_> = (0..callers)
                .map(|caller| {
                    let tokens = Arc::clone(&tokens);
                    let signer = Arc::clone(&self.signer);
                    let connection = connection.clone();
                    tokio::spawn(call_until(begun + time, caller, tokens, signer, connection))
                })
                .collect();
            let mut calls = 0.0;
            for caller in callers {
                calls += caller.await.map_err(Failure::broken)??;
            }
            Ok(Some(calls / begun.elapsed().as_secs_f64()))
        })
    }
}

impl Contestant for Redis {
    fn create(&mut self, requests: Vec<Request>) -> Timed<Vec<Granted>> {
        let Some((sessions, took)) = batch::all(requests, |request| self.make(request))? else {
            return Ok(None);
        };
        for session in &sessions {
            self.agents.insert(session.id, session.agent_id);
        }
        let granted = batch::granted(sessions);
        keep_first(&mut self.first, granted.iter().cloned());
        Ok(Some((granted, took)))
    }

    fn validate(&mut self, tokens: Vec<String>) -> Timed<()> {
        batch::each(tokens, |token| self.look_up(&token))
    }

    fn refresh(&mut self, ids: Vec<Uuid>) -> Timed<Vec<String>> {
        batch::all(ids, |id| self.replace_token(id))
    }

    fn revoke(&mut self, ids: Vec<Uuid>) -> Timed<()> {
        let known = |id: Uuid| Some((id, self.agents.remove(&id)?));
        let Some(known) = ids.into_iter().map(known).collect::<Option<Vec<_>>>() else {
            return Err(none(Operation::Revoke));
        };
        batch::each(known, |(id, agent)| self.end(id, agent))
    }

    fn revoke_agents(&mut self, agents: Vec<Uuid>) -> Timed<()> {
        let ended = batch::all(agents, |agent| self.end_agent(agent))?;
        Ok(ended.map(|(ids, took)| {
            for id in ids.iter().flatten().filter_map(|id| id.parse().ok()) {
                self.agents.remove(&id);
            }
            ((), took)
        }))
    }

    fn figure(&mut self, figure: Figure) -> Result<Option<f64>, Failure> {
        match figure {
            Figure::Memory => Ok(Some(used_memory(&mut self.connection)? - self.at_first)),
            Figure::ValidateRate {
                callers,
                milliseconds,
            } => self.rate(callers, Duration::from_millis(milliseconds.into())),
            _ => Ok(None),
        }
    }
}

/// Validates tokens in turn until a time; how many.
async fn call_until(
    end: Instant,
    caller: u32,
    tokens: Arc<[String]>,
    signer: Arc<Signer>,
    mut connection: MultiplexedConnection,
) -> Result<f64, Failure> {
    let refused = Failure::refused(Operation::Validate);
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

/// What the server has taken for data, in bytes.
fn used_memory(connection: &mut Connection) -> Result<f64, Failure> {
    let info: String = cmd("INFO")
        .arg("memory")
        .query(connection)
        .map_err(Failure::broken)?;
    let memory = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let memory = memory.and_then(|memory| memory.trim().parse().ok());
    memory.ok_or_else(|| Failure::broken("Redis does not tell its memory"))
}

fn key(session: Uuid) -> String {
    format!("session:{session}")
}

fn agent_key(agent: Uuid) -> String {
    format!("agent:{agent}")
}

/// Adds the command that keeps a session until its time is over.
fn set(commands: &mut Pipeline, session: &Session) -> Result<(), Failure> {
    let json = serde_json::to_vec(session).map_err(Failure::broken)?;
    let command = commands.cmd("SET").arg(key(session.id)).arg(json);
    command.arg("EX").arg(LIFETIME).ignore();
    Ok(())
}

/// The session that Redis answered with.
fn read(operation: Operation, json: RedisResult<Option<Vec<u8>>>) -> Result<Session, Failure> {
    let json = json.map_err(refused(operation))?;
    let json = json.ok_or_else(|| none(operation))?;
    serde_json::from_slice(&json).map_err(Failure::broken)
}

fn refused(operation: Operation) -> impl Fn(RedisError) -> Failure {
    move |error| Failure::refused(operation)(error.to_string())
}

fn none(operation: Operation) -> Failure {
    Failure::refused(operation)("no such session".into())
}
