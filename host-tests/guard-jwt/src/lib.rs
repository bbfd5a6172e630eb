//! A guard for the `clawdb:session` component that needs no server: JSON Web Tokens signed with
//! HMAC-SHA256.
//!
//! ```
//! use clawdb_session_guard_jwt::JwtGuard;
//! use clawdb_session_host::LocalOptions;
//!
//! let options = LocalOptions::new(JwtGuard::from_environment()?);
//! # Ok::<(), clawdb_session_guard_jwt::SecretError>(())
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `jwt` | the guard: [`JwtGuard`] |
//! | `secrets` | the secret that signs, and previous secrets that only verify |
//!
//! `clawdb-session-guard-jwt-core` issues and validates the tokens.

mod jwt;
mod secrets;

pub use jwt::{JwtGuard, LongTolerance};
pub use secrets::{
    MIN_SECRET, PREVIOUS_SECRETS_VARIABLE, SECRET_VARIABLE, SecretError, ShortSecret,
    previous_secrets_from_environment,
};
