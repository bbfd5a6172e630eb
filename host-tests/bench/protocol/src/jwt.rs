//! Bearer tokens of the native targets: JSON Web Tokens signed with HMAC-SHA256, about 350 bytes.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::target::TargetError;
use crate::workload::{self, Session};

/// Signs and verifies tokens.
pub struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sid: Uuid,
    sub: Uuid,
    wid: Uuid,
    role: String,
    iat: u64,
    exp: u64,
}

impl Default for Signer {
    fn default() -> Self {
        let secret = [7; 32];
        Self {
            encoding: EncodingKey::from_secret(&secret),
            decoding: DecodingKey::from_secret(&secret),
            validation: Validation::new(Algorithm::HS256),
        }
    }
}

impl Signer {
    /// Returns a token for a session.
    ///
    /// # Errors
    /// [`TargetError`] if signing fails.
    pub fn sign(&self, session: &Session) -> Result<String, TargetError> {
        let claims = Claims {
            sid: session.id,
            sub: session.agent_id,
            wid: session.workspace_id,
            role: session.role.clone(),
            iat: workload::now(),
            exp: session.expires_at,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(TargetError::failed)
    }

    /// Returns the id of the session that a valid token belongs to.
    ///
    /// # Errors
    /// The reason for which the token is invalid.
    pub fn verify(&self, token: &str) -> Result<Uuid, String> {
        jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map(|token| token.claims.sid)
            .map_err(|error| error.to_string())
    }
}
