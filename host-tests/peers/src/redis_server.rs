//! Starts and ends a Redis server.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;

use clawdb_session_bench_protocol::target::TargetError;

/// A server on a free port of the loopback address, without persistence. Dropping it ends the
/// server.
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// [`TargetError::Failed`] if it is not installed or ends before it is ready.
    pub fn start() -> Result<Self, TargetError> {
        let port = free_port().map_err(TargetError::failed)?;
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut server = match child {
            Ok(child) => Self { child, port },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let hint = "redis-server is not installed (apt-get install redis-server)";
                return Err(TargetError::failed(hint));
            }
            Err(error) => return Err(TargetError::Failed(format!("redis-server: {error}"))),
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.port)
    }

    /// Reads the server's output until it reports that it is ready.
    fn wait_until_ready(&mut self) -> Result<(), TargetError> {
        let mut last = String::new();
        let Some(output) = self.child.stdout.take() else {
            return Err(TargetError::failed("redis-server has no output"));
        };
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref() {
            last = line.map_err(TargetError::failed)?;
            if last.contains("Ready to accept connections") {
                // Reads the rest of the output, so that the pipe does not fill up.
                thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(());
            }
        }
        Err(TargetError::Failed(format!(
            "redis-server did not start: {last}"
        )))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
