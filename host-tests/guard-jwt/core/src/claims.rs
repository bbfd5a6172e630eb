//! What a token states.

use serde::Serialize;
use serde_json::{Map, Value};

/// The issuer of all tokens.
pub(crate) const ISSUER: &str = "clawdb-session";

/// The claims of a token that is issued.
#[derive(Serialize)]
pub(crate) struct IssuedClaims<'a> {
    pub iss: &'static str,
    pub sub: &'a str,
    pub jti: &'a str,
    pub iat: u64,
    pub exp: u64,
    /// The session id, under the name that `OpenID` Connect gives it.
    pub sid: &'a str,
    #[serde(flatten)]
    pub full: Option<FullClaims<'a>>,
}

/// The additional claims of a token for services that read tokens without asking the component.
#[derive(Serialize)]
pub struct FullClaims<'a> {
    /// The agent.
    pub agent_id: &'a str,
    /// The workspace.
    pub workspace_id: &'a str,
    /// The task type of the session.
    pub task: &'a str,
    /// The role of the agent.
    pub role: &'a str,
    /// The scopes, separated by spaces as in RFC 8693.
    pub scope: String,
}

/// The claims that the guard reads from a presented token. It ignores all others.
pub(crate) struct PresentedClaims {
    pub jti: String,
    pub exp: u64,
    /// 0 if the token does not state it.
    pub iat: u64,
}

impl PresentedClaims {
    /// Returns the claims of a token; `None` if this guard issues no such token. It issues none for
    /// an audience, and a token for another audience must be refused (RFC 7519, section 4.1.3).
    pub(crate) fn read(claims: &Map<String, Value>) -> Option<Self> {
        if claims.get("iss")?.as_str()? != ISSUER || claims.contains_key("aud") {
            return None;
        }
        let iat = claims.get("iat").filter(|iat| !iat.is_null());
        Some(Self {
            jti: claims.get("jti")?.as_str()?.into(),
            exp: claims.get("exp")?.as_u64()?,
            iat: iat.map_or(Some(0), Value::as_u64)?,
        })
    }
}
