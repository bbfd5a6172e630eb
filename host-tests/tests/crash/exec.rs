//! A conversation with a child process that is going to be killed.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::command;

pub struct Talk {
    child: Arc<Mutex<Child>>,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    killer: Option<JoinHandle<()>>,
}

impl Talk {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let input = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self {
            child: Arc::new(Mutex::new(child)),
            input,
            answers,
            killer: None,
        }
    }

    /// It has restored its sessions, and answers.
    pub fn wait_until_ready(&mut self) {
        let answer = self.ask(&json!({ "op": "active-count" }));
        assert!(
            answer.as_ref().is_some_and(|answer| answer["ok"].is_u64()),
            "it does not start: {answer:?}"
        );
    }

    /// What it answers; nothing where it was killed before.
    pub fn ask(&mut self, line: &Value) -> Option<Value> {
        writeln!(self.input, "{line}").ok()?;
        let answer = self.answers.next()?.ok()?;
        // A line that was cut off is no answer.
        serde_json::from_str(&answer).ok()
    }

    pub fn kill_after(&mut self, time: Duration) {
        let child = Arc::clone(&self.child);
        self.killer = Some(thread::spawn(move || {
            // Any moment will do; nothing waits for this.
            thread::sleep(time);
            child
                .lock()
                .expect("nobody panics with it")
                .kill()
                .expect("it is killed");
        }));
    }

    /// It was killed, and nothing else.
    pub fn end(mut self) {
        self.killer
            .take()
            .map(|killer| killer.join().expect("it killed"));
        let status = self.child.lock().expect("nobody panics with it").wait();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status.expect("it has ended"));
        assert_eq!(signal, Some(9), "it ended by itself");
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if let Ok(mut child) = self.child.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
