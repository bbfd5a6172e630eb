//! The options of the connection and of the streams.

use std::fmt;
use std::fs;
use std::process;
use std::time::Duration;

use clawdb_session_durable::JournalError;

/// The options of the connection and of the streams. `Debug` does not show the password.
///
/// ```
/// use std::time::Duration;
///
/// use clawdb_session_journal_nats::NatsOptions;
///
/// let cluster = NatsOptions {
///     lease: Duration::from_secs(20),
///     ..NatsOptions::new("nats://n1:4222,nats://n2:4222,nats://n3:4222")
/// };
/// let single = NatsOptions::new("nats://localhost:4222").single();
/// # assert_eq!((cluster.replicas, single.replicas), (3, 1));
/// ```
#[derive(Clone)]
pub struct NatsOptions {
    /// The URLs of the servers, separated by commas: `nats://[user:password@]host[:port]`, or all
    /// with `tls://`. The user and the password are percent-encoded (RFC 3986).
    ///
    /// With `nats://`, one server of a cluster is enough: it names the others. With `tls://`, each
    /// connection is encrypted, and the certificate is checked against the roots of the system; the
    /// servers that are not in the list are not used.
    pub url: String,
    /// The number of servers that store each record: 1 to 5, 3 by default. Fewer than 3 need
    /// [`allow_single`](Self::allow_single).
    pub replicas: usize,
    /// Allows fewer than three replicas, which can lose acknowledged records in a power failure.
    /// `false` by default.
    pub allow_single: bool,
    /// The duration of a lease: 100 ms to 1 h, 10 s by default. After the last renewal of an owner
    /// that died, another host can take the tenant over when 5/4 of this have passed.
    pub lease: Duration,
    /// The prefix of the names of streams and subjects: 1 to 64 letters, digits, `-` and `_`;
    /// `clawdb-session` by default. Two deployments on the same servers need different prefixes.
    pub prefix: String,
    /// The name of this host in the owner record, for people. By default the name of the machine
    /// and the id of the process.
    pub host: String,
    /// The longest time to wait for one answer of the server: more than 0 s and at most 1 h, 3 s by
    /// default. After it, the call is [`Unavailable`](JournalError::Unavailable).
    pub patience: Duration,
}

impl NatsOptions {
    /// Returns the default options for these servers.
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

    /// Sets one replica, and `allow_single`: a power failure can lose acknowledged records.
    #[must_use]
    pub fn single(self) -> Self {
        Self {
            replicas: 1,
            allow_single: true,
            ..self
        }
    }

    /// Checks that the options are within their bounds.
    ///
    /// # Errors
    /// [`JournalError::Misconfigured`] for the first option that is not.
    pub(super) fn check(&self) -> Result<(), JournalError> {
        let wrong = |text: &str| Err(JournalError::Misconfigured(text.into()));
        if !(1..=5).contains(&self.replicas) {
            return wrong(&format!("replicas ({}) must be 1 to 5", self.replicas));
        }
        if self.replicas < 3 && !self.allow_single {
            return wrong(
                "fewer than 3 replicas can lose acknowledged records in a power failure: use a \
                 cluster of three servers with replicas = 3, or accept this with allow_single \
                 (--single)",
            );
        }
        if !(Duration::from_millis(100)..=Duration::from_hours(1)).contains(&self.lease) {
            let seconds = self.lease.as_secs_f64();
            return wrong(&format!("lease ({seconds} s) must be 100 ms to 1 h"));
        }
        if self.patience.is_zero() || self.patience > Duration::from_hours(1) {
            let seconds = self.patience.as_secs_f64();
            return wrong(&format!(
                "patience ({seconds} s) must be more than 0 s and at most 1 h"
            ));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.chars().all(fits) {
            let length = self.prefix.len();
            return wrong(&format!(
                "prefix ({length} bytes) must be 1 to 64 letters, digits, - and _"
            ));
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

/// Returns the URLs without user names and passwords.
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
