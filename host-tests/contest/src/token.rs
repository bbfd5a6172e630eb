//! The tokens of contestants that have no authority of their own: JSON Web Tokens, HS256, with what a
//! session says in them.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::workload::Request;

const SECRET: &[u8] = b"a key for measurements, and for nothing else";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// On whose behalf.
    pub sub: String,
    /// The session.
    pub sid: Uuid,
    /// The agent's role.
    pub role: String,
    /// What it may do, with spaces between.
    pub scope: String,
    /// When it was issued, in seconds.
    pub iat: u64,
    /// When it expires, in seconds.
    pub exp: u64,
}

/// Signs and checks tokens.
pub struct Authority {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Default for Authority {
    fn default() -> Self {
        Self {
            header: Header::new(Algorithm::HS256),
            encoding: EncodingKey::from_secret(SECRET),
            decoding: DecodingKey::from_secret(SECRET),
            validation: Validation::new(Algorithm::HS256),
        }
    }
}

impl Authority {
    /// A token for a session.
    ///
    /// # Errors
    /// Of the library.
    pub fn issue(
        &self,
        session: Uuid,
        request: &Request,
        now: u64,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims {
            sub: format!("agent:{}", request.agent_id),
            sid: session,
            role: request.role.clone(),
            scope: request.scopes.join(" "),
            iat: now,
            exp: now + request.expires_in,
        };
        jsonwebtoken::encode(&self.header, &claims, &self.encoding)
    }

    /// What a token says, if it is good.
    ///
    /// # Errors
    /// Of the library.
    pub fn check(&self, token: &str) -> Result<Claims, jsonwebtoken::errors::Error> {
        Ok(jsonwebtoken::decode(token, &self.decoding, &self.validation)?.claims)
    }
}

/// The time, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp()).unwrap_or_default()
}
