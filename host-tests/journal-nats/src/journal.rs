//! The journal and its connection.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{ConnectErrorKind, ConnectOptions};
use async_trait::async_trait;
use clawdb_session_durable::{Journal, JournalError, Reason, Scan, TenantId, Writer};
use clawdb_session_host::Change;

use crate::acquire;
use crate::observed_owners::ObservedOwners;
use crate::options::NatsOptions;
use crate::scan;
use crate::servers::Servers;
use crate::stream::{self, StreamNames, with_timeout};

/// The smallest `max_payload` of a server, in bytes. A record has up to 300 KiB, and its headers
/// come in addition.
const MIN_PAYLOAD: usize = 512 * 1024;

/// A journal on `JetStream`. Clones share the connection. The [crate](crate) page has an example
/// and the guarantees.
#[derive(Clone, Debug)]
pub struct NatsJournal {
    context: Context,
    options: NatsOptions,
    observed_owners: ObservedOwners,
}

impl NatsJournal {
    /// Connects to the servers and checks the options, the version of the server and its settings.
    /// A take-over checks the stream of its tenant. Lost connections are re-established in the
    /// background.
    ///
    /// # Errors
    /// - [`JournalError::Misconfigured`] if an option is outside its bounds, the credentials are
    ///   refused, the server is older than 2.9, its `max_payload` is below 512 KiB, or `JetStream`
    ///   is not enabled.
    /// - [`JournalError::Unavailable`] if no server answers within `patience` of the options.
    pub async fn connect(options: NatsOptions) -> Result<Self, JournalError> {
        options.check()?;
        let wrong = |reason: Reason| JournalError::Misconfigured(reason);
        let servers = Servers::parse(&options.url)?;
        let connect_options = ConnectOptions::new()
            .name("clawdb-session")
            .connection_timeout(options.patience)
            .request_timeout(Some(options.patience))
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(connection_delay);
        let (connect_options, addresses) = servers.configure(connect_options);
        let client =
            match with_timeout(options.patience, connect_options.connect(addresses)).await? {
                Ok(client) => client,
                Err(error) => {
                    let kind = error.kind();
                    let reason = Reason::with_source("connecting to NATS failed", error);
                    return Err(match kind {
                        ConnectErrorKind::Authentication
                        | ConnectErrorKind::AuthorizationViolation => wrong(reason),
                        _ => JournalError::Unavailable(reason),
                    });
                }
            };

        let server = client.server_info();
        if !client.is_server_compatible(2, 9, 0) {
            let text = format!(
                "nats-server has version {}: use 2.9 or later",
                server.version
            );
            return Err(wrong(text.into()));
        }
        if server.max_payload < MIN_PAYLOAD {
            let text = format!(
                "the server's max_payload ({} bytes) must be at least {MIN_PAYLOAD} bytes: set \
                 max_payload: 1MB",
                server.max_payload
            );
            return Err(wrong(text.into()));
        }
        let mut context = jetstream::new(client);
        context.set_timeout(options.patience);
        stream::check_account(&context, options.patience).await?;
        Ok(Self {
            context,
            options,
            observed_owners: ObservedOwners::default(),
        })
    }

    fn names(&self, tenant: TenantId) -> StreamNames {
        StreamNames::new(&self.options.prefix, tenant)
    }
}

/// Returns how long to wait before an attempt to connect: 10 ms before attempt 1, then twice as
/// long each time, at most 640 ms.
fn connection_delay(attempt: usize) -> Duration {
    let exponent = attempt.clamp(1, 7) - 1;
    Duration::from_millis(10 << exponent)
}

#[async_trait]
impl Journal for NatsJournal {
    async fn take_over(&self, tenant: TenantId) -> Result<Box<dyn Writer>, JournalError> {
        let stream = stream::open(&self.context, self.names(tenant), &self.options).await?;
        let writer = acquire::acquire(tenant, stream, &self.options, &self.observed_owners).await?;
        Ok(Box::new(writer))
    }

    async fn is_held(&self, tenant: TenantId) -> Result<bool, JournalError> {
        match stream::find(&self.context, self.names(tenant), &self.options).await? {
            Some(stream) => acquire::is_held(tenant, &stream, &self.observed_owners).await,
            None => Ok(false),
        }
    }

    async fn exists(&self, tenant: TenantId) -> Result<bool, JournalError> {
        let names = self.names(tenant);
        stream::exists(&self.context, &names, self.options.patience).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, JournalError> {
        stream::tenants(&self.context, &self.options).await
    }

    async fn record(&self, tenant: TenantId, key: &str) -> Result<Option<Change>, JournalError> {
        match stream::find(&self.context, self.names(tenant), &self.options).await? {
            Some(stream) => scan::record(&stream, key).await,
            None => Ok(None),
        }
    }

    async fn scan(&self, tenant: TenantId) -> Result<Box<dyn Scan>, JournalError> {
        let stream = stream::find(&self.context, self.names(tenant), &self.options).await?;
        Ok(Box::new(scan::NatsScan::begin(stream).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_before_an_attempt_to_connect_doubles_up_to_640_ms() {
        let delays = [0, 1, 2, 6, 7, 8, usize::MAX].map(connection_delay);
        let expected = [10, 10, 20, 320, 640, 640, 640].map(Duration::from_millis);
        assert_eq!(delays, expected);
    }
}
