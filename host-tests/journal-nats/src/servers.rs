//! The servers that a URL names.

use async_nats::{ConnectOptions, ServerAddr};
use clawdb_session_durable::{JournalError, Reason};
use percent_encoding::percent_decode_str;

/// The servers of a URL, and what a connection to them needs.
pub(super) struct Servers {
    addresses: Vec<ServerAddr>,
    /// Whether each connection is encrypted.
    needs_tls: bool,
    /// A user and its password.
    credentials: Option<(String, String)>,
}

impl Servers {
    /// Parses URLs that are separated by commas.
    ///
    /// # Errors
    /// [`JournalError::Misconfigured`] if a URL is not `nats://` or `tls://`, if there are both, or
    /// if a user or password is not UTF-8 with percent-encoding.
    pub(super) fn parse(url: &str) -> Result<Self, JournalError> {
        let wrong = |reason: Reason| JournalError::Misconfigured(reason);
        let form = "url must be nats://host:port or tls://host:port, several separated by commas";
        let addresses = url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<Vec<ServerAddr>, _>>()
            .map_err(|error| wrong(Reason::in_place_of(form, error)))?;
        let has = |scheme| addresses.iter().any(|address| address.scheme() == scheme);
        if has("ws") || has("wss") {
            return Err(wrong(form.into()));
        }
        let needs_tls = has("tls");
        if needs_tls && has("nats") {
            return Err(wrong("url must not have both nats:// and tls://".into()));
        }
        let credentials = addresses
            .iter()
            .find_map(|address| Some((address.username()?, address.password()?)))
            .map(|(user, password)| Ok((decode(user)?, decode(password)?)))
            .transpose()?;
        Ok(Self {
            addresses,
            needs_tls,
            credentials,
        })
    }

    /// Sets what a connection needs. Returns the options with the addresses to connect to.
    ///
    /// With TLS, only servers of the URL are used. A server names others before the connection is
    /// encrypted, so an attacker on the way could name its own.
    pub(super) fn configure(self, options: ConnectOptions) -> (ConnectOptions, Vec<ServerAddr>) {
        let mut options = options.require_tls(self.needs_tls);
        if self.needs_tls {
            options = options.ignore_discovered_servers();
        }
        if let Some((user, password)) = self.credentials {
            options = options.user_and_password(user, password);
        }
        (options, self.addresses)
    }
}

/// Decodes the percent-encoding of a user or a password.
fn decode(text: &str) -> Result<String, JournalError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| {
        let reason = "the user and the password in url must be UTF-8 with percent-encoding";
        JournalError::Misconfigured(reason.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        match Servers::parse(url) {
            Err(JournalError::Misconfigured(reason)) => reason.to_string(),
            Err(error) => panic!("{url}: {error:?}"),
            Ok(_) => panic!("{url} is accepted"),
        }
    }

    #[test]
    fn several_servers_of_one_scheme_are_accepted() {
        for (url, needs_tls) in [
            ("nats://one:4222, nats://two", false),
            ("one:4222,nats://two", false),
            ("tls://one:4222,tls://two", true),
        ] {
            let servers = Servers::parse(url).unwrap();
            let count = servers.addresses.len();
            assert_eq!((count, servers.needs_tls), (2, needs_tls), "{url}");
        }
    }

    #[test]
    fn other_schemes_and_two_schemes_are_refused() {
        for url in ["ws://one", "wss://one", "tls://one,wss://two", "http://one"] {
            assert!(refusal(url).contains("nats://host:port"), "{url}");
        }
        for url in ["tls://one,nats://two", "one,tls://two"] {
            assert!(refusal(url).contains("both"), "{url}");
        }
    }

    #[test]
    fn the_user_and_the_password_are_decoded() {
        let credentials = |url| Servers::parse(url).unwrap().credentials;
        let expected = Some(("a@b".to_owned(), "p:/%ä".to_owned()));
        assert_eq!(
            credentials("nats://one,nats://a%40b:p%3A%2F%25%C3%A4@two"),
            expected
        );
        assert_eq!(credentials("nats://one"), None);
        assert_eq!(credentials("nats://user@one"), None);
    }

    #[test]
    fn a_user_or_password_that_is_not_utf_8_is_refused() {
        for url in ["nats://a%ff:b@one", "nats://a:b%ff@one"] {
            assert!(refusal(url).contains("UTF-8"), "{url}");
        }
    }
}
