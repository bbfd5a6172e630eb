//! How one connects, and what has to be true of the servers.

use std::fmt;
use std::fs;
use std::process;
use std::time::Duration;

use clawdb_session_durable::JournalError;

/// How often something is tried that may have to do with servers that change roles.
pub(super) const TRIES: u32 = 8;

/// How one connects, and what has to be true of the servers. `Debug` does not show the password.
#[derive(Clone)]
pub struct NatsOptions {
    /// Where the servers are: `nats://[user:password@]host[:port]`, or `tls://`; several with commas.
    /// It is enough to name one of a cluster.
    pub url: String,
    /// How many servers keep each record, 1-5. Below 3 it takes [`allow_single`](Self::allow_single).
    pub replicas: usize,
    /// Accepts fewer than three replicas, and that a power cut then loses what was acknowledged.
    pub allow_single: bool,
    /// How long an owner has the tenant after each renewal, 100 ms to 1 h. Another can take over 5/4 of
    /// this after the last renewal of an owner that died.
    pub lease: Duration,
    /// What the names of streams and subjects begin with: 1-64 letters, digits, `-` and `_`. Two
    /// deployments on the same servers have two.
    pub prefix: String,
    /// What the owner record calls this host, for people.
    pub host: String,
    /// How long the server may take for one answer, and not zero; what takes longer is
    /// [`Unavailable`](JournalError::Unavailable).
    pub patience: Duration,
}

impl NatsOptions {
    /// Three replicas, a lease of 10 s, the prefix `clawdb-session`, the machine's name and the
    /// process's number as the host, and 3 s of patience.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            url: url.into(),
            replicas: 3,
            allow_single: false,
            lease: Duration::from_secs(10),
            prefix: "clawdb-session".into(),
            host: format!("{}/{}", machine.trim(), process::id()),
            patience: Duration::from_secs(3),
        }
    }

    /// One replica, and all that comes with it.
    #[must_use]
    pub fn single(self) -> Self {
        Self {
            replicas: 1,
            allow_single: true,
            ..self
        }
    }

    pub(super) fn check(&self) -> Result<(), JournalError> {
        let wrong = |text: &str| Err(JournalError::Misconfigured(text.into()));
        if !(1..=5).contains(&self.replicas) {
            return wrong("replicas is 1-5");
        }
        if self.replicas < 3 && !self.allow_single {
            return wrong(
                "fewer than 3 replicas lose acknowledged records in a power cut: use a cluster of \
                 three servers with replicas = 3, or accept that with allow_single (--single)",
            );
        }
        if !(Duration::from_millis(100)..=Duration::from_hours(1)).contains(&self.lease) {
            return wrong("the lease is 100 ms to 1 h");
        }
        if self.patience.is_zero() {
            return wrong("the patience is longer than 0 s");
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.chars().all(fits) {
            return wrong("the prefix is 1-64 letters, digits, - and _");
        }
        Ok(())
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("url", &without_password(&self.url))
            .field("replicas", &self.replicas)
            .field("allow_single", &self.allow_single)
            .field("lease", &self.lease)
            .field("prefix", &self.prefix)
            .field("host", &self.host)
            .field("patience", &self.patience)
            .finish()
    }
}

/// The same servers, without who one is to them.
fn without_password(url: &str) -> String {
    let server = |url: &str| {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), url),
        };
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}{host}")
    };
    url.split(',').map(server).collect::<Vec<_>>().join(",")
}
