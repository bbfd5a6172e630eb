//! The tokens of the JWT guard: JSON Web Tokens (RFC 7519) signed with HMAC-SHA256.
//!
//! It has no clock and no random bytes: each call takes what it needs of them. So it compiles
//! natively, for `clawdb-session-guard-jwt`, and to WebAssembly, for the guard that is a component.
//!
//! | module | contents |
//! |---|---|
//! | `tokens` | issues, validates and revokes tokens: [`Tokens`] |
//! | `claims` | what a token states |
//! | `keys` | the key that signs, and previous keys that only verify: [`Keys`] |
//! | `revocations` | the revoked tokens that have not expired |

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used,
    )
)]

mod claims;
mod keys;
mod revocations;
mod tokens;

pub use claims::FullClaims;
pub use keys::{Key, Keys, MAX_PREVIOUS, MIN_KEY, ShortKey};
pub use revocations::MAX_REVOKED;
pub use tokens::{Issued, MAX_TOKEN, TokenError, TokenRequest, Tokens, Valid};
