//! The embedded guard of the `clawdb:session` component: JSON Web Tokens signed with HMAC-SHA256.
//!
//! | module | what is in it |
//! |---|---|
//! | `jwt` | the guard: [`JwtGuard`] |
//! | `keys` | the key that signs, and those that were in use before it |

mod jwt;
mod keys;

pub use jwt::{JwtGuard, LongTolerance};
pub use keys::{
    MIN_SECRET, PREVIOUS_SECRETS_VARIABLE, SECRET_VARIABLE, SecretError, ShortSecret,
    previous_secrets_from_environment,
};
