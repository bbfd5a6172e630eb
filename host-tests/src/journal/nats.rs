//! The journal for many machines, on NATS `JetStream`: one stream a tenant, one subject a record, one
//! message kept for each subject. So the stream is the compacted feed.
//!
//! # What is in the stream
//!
//! With the prefix `clawdb-session`, a tenant's stream is `clawdb-session-<32 hex digits>`:
//!
//! | subject | message |
//! |---|---|
//! | `clawdb-session.<tenant>.owner` | who owns the tenant, as JSON; a lease of 0 says that it was given back |
//! | `clawdb-session.<tenant>.record.<key>` | a record: the body is its value; `/` in the key is `.` here |
//!
//! | header | on | what it says |
//! |---|---|---|
//! | `Clawdb-Writer` | all | the random id of the writer that published it |
//! | `Clawdb-Owner` | all | the stream's sequence number of the owner record that was in force |
//! | `Clawdb-Kept` | all | what the stream has to hold from this message on: the count of the records, the sum of their sequence numbers in the stream (modulo 2^64), and up to which place in the order of expiry they are not counted any more |
//! | `Clawdb-Sequence`, `Clawdb-Forget-At` | records | the fields of the change; no `Clawdb-Forget-At` where it has none |
//!
//! # Why nothing acknowledged is lost to another writer
//!
//! Each message is published with the last sequence number of the stream that its writer *knows*
//! (`Nats-Expected-Last-Sequence`); the server takes it only if that is still the last. Numbers never
//! go back, so of all messages that expect a number at most one is ever taken, however late they come.
//!
//! - **A take-over fences.** It is a message as well. From then on the writer before expects a number
//!   that is past, whatever it still sends and however long that was under way.
//! - **One message at a time.** Messages that are sent ahead would expect numbers that the writer does
//!   not know yet. If the first of them is refused, because of a take-over, a later one could still be
//!   taken right after the take-over record: past the fence, and out of order. (And nats-server 2.9,
//!   when it replays its log after a crash, can take on one replica a message that expects a number of
//!   the future and that was refused at its time.) So an append of `n` records takes `n` round trips.
//! - **A lost answer** leaves a writer in doubt. It then looks at the stream's last message: the one
//!   that it knew, or one more with its own id, which it adopts; anything else is another writer's.
//! - **Two owners at once** there are not. An owner has its lease from the time *before* it sent the
//!   record for which the acknowledgement then came. A contender waits until it has seen the same owner
//!   record in force for 5/4 of its lease, and the take-over expects the very message whose
//!   `Clawdb-Owner` said so; a renewal in between has it refused.
//!
//! What is read at a take-over is checked against `Clawdb-Kept`: a stream that lost a record, or has an
//! old one again, is [`Damaged`](JournalError::Damaged) and never read as if it were whole.
//!
//! Records whose `forget-at` has come are deleted by their sequence number in the stream, so a writer
//! that was fenced meanwhile can remove nothing that is newer. (Purging a subject would be one call; but
//! nats-server 2.9.10, when it replays that after a crash, removes all that the replica has.)
//!
//! # What an acknowledged record survives
//!
//! A crash of the host, of its machine, of the server's process. Not the whole of it by itself: nats-server
//! 2.9 writes a record to the operating system before it acknowledges it, and to the disk about every
//! two minutes. With three replicas a record is acknowledged when two servers have it; it survives
//! whatever leaves one of the two as it was. **Put the servers where they do not lose power together.**
//!
//! One server alone loses up to two minutes of what it acknowledged when its machine loses power.
//! [`NatsOptions::allow_single`] says that this is accepted. From version 2.10 on `sync_interval: always`
//! closes the gap; a client cannot see whether it is set.
//!
//! # Setting up the servers
//!
//! ```text
//! server_name: n1            # each its own
//! listen: 0.0.0.0:4222
//! max_payload: 1MB           # 512 KiB at least; 1 MB is what it has by itself
//! jetstream {
//!   store_dir: /var/lib/nats # a disk, not a tmpfs
//!   max_file_store: 100GB    # when it is full, appends are Unavailable and nothing is dropped
//!   # sync_interval: always  # 2.10 and later
//! }
//! cluster {                  # leave it out for one server alone
//!   name: sessions
//!   listen: 0.0.0.0:6222
//!   routes: [nats://n1:6222, nats://n2:6222, nats://n3:6222]
//! }
//! ```
//!
//! When the server that leads a stream dies, the others of 2.9 take 4 to 10 s to choose another, and
//! appends and renewals are `Unavailable` until then. A lease that is shorter than that runs out
//! meanwhile; the next renewal has it run again, unless another host was faster.
//!
//! A host that checks its state keys lists the streams (`$JS.API.STREAM.NAMES`): a user with narrow
//! permissions needs that too.
//!
//! Let nobody else write to the streams or change them. Use the newest patch release that there is:
//! 2.9.10 works, and later ones have many fixes for servers that crash.

mod contender;
mod index;
mod message;
mod reader;
mod scan;
mod stream;
mod watches;
mod writer;

use std::fmt;
use std::fs;
use std::process;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{ConnectErrorKind, ConnectOptions, ServerAddr};
use async_trait::async_trait;

use super::{Change, Journal, JournalError, Scan, TenantId, Writer};
use stream::{Place, within};
use watches::Watches;

/// How often something is tried that may have to do with servers that change roles.
const TRIES: u32 = 8;

/// The smallest `max_payload` of a server: a record of 300 KiB, its headers, and room.
const MIN_PAYLOAD: usize = 512 * 1024;

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

    fn check(&self) -> Result<(), JournalError> {
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

/// Journals of tenants on `JetStream`. See the [module](self).
#[derive(Clone, Debug)]
pub struct NatsJournal {
    context: Context,
    options: NatsOptions,
    watches: Watches,
}

impl NatsJournal {
    /// Connects, and checks what can be checked before there is a tenant. Lost connections come back
    /// by themselves from then on.
    ///
    /// # Errors
    ///
    /// `Misconfigured` where the options or the server do not do; `Unavailable` where none answers.
    pub async fn connect(options: NatsOptions) -> Result<Self, JournalError> {
        options.check()?;
        let wrong = |text: String| Err(JournalError::Misconfigured(text));
        let Ok(servers) = options
            .url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<Vec<ServerAddr>, _>>()
        else {
            return wrong("the URL of a server is nats://host:port".into());
        };

        let mut how = ConnectOptions::new()
            .name("clawdb-session")
            .connection_timeout(options.patience)
            .request_timeout(Some(options.patience))
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| {
                let exponent = u32::try_from(attempts.min(6)).unwrap_or(6);
                Duration::from_millis(10 << exponent)
            });
        if let Some((user, password)) = servers
            .iter()
            .find_map(|server| Some((server.username()?, server.password()?)))
        {
            how = how.user_and_password(user.into(), password.into());
        }
        let client = match within(options.patience, how.connect(servers)).await? {
            Ok(client) => client,
            Err(error) => {
                let text = error.to_string();
                return match error.kind() {
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        wrong(text)
                    }
                    _ => Err(JournalError::Unavailable(text)),
                };
            }
        };

        let server = client.server_info();
        if !client.is_server_compatible(2, 9, 0) {
            return wrong(format!(
                "nats-server is {}: use 2.9 or later",
                server.version
            ));
        }
        if server.max_payload < MIN_PAYLOAD {
            return wrong(format!(
                "the server's max_payload is {}: set max_payload: 1MB",
                server.max_payload
            ));
        }
        let mut context = jetstream::new(client);
        context.set_timeout(options.patience);
        stream::check_account(&context, options.patience).await?;
        Ok(Self {
            context,
            options,
            watches: Watches::default(),
        })
    }

    fn place(&self, tenant: TenantId) -> Place {
        Place::new(&self.options.prefix, tenant)
    }
}

#[async_trait]
impl Journal for NatsJournal {
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        let stream = stream::open(&self.context, self.place(tenant), &self.options).await?;
        let writer = contender::take_over(tenant, stream, &self.options, &self.watches).await?;
        Ok(Box::new(writer))
    }

    async fn is_held(&self, tenant: TenantId) -> Result<bool, JournalError> {
        match stream::find(&self.context, self.place(tenant), &self.options).await? {
            Some(stream) => contender::is_held(tenant, &stream, &self.watches).await,
            None => Ok(false),
        }
    }

    async fn has(&self, tenant: TenantId) -> Result<bool, JournalError> {
        let place = self.place(tenant);
        stream::exists(&self.context, &place, self.options.patience).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
        stream::tenants(&self.context, &self.options).await
    }

    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError> {
        match stream::find(&self.context, self.place(tenant), &self.options).await? {
            Some(stream) => scan::record(&stream, key).await,
            None => Ok(None),
        }
    }

    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError> {
        let stream = stream::find(&self.context, self.place(tenant), &self.options).await?;
        Ok(Box::new(scan::NatsScan::begin(stream).await?))
    }
}
