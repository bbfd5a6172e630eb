//! The JWT guard as a component: it translates between its world and the tokens of
//! `clawdb-session-guard-jwt-core`, and keeps the keys that its host sets.
//!
//! No argument, clock reading or random bytes make it trap.

// It is compiled for wasm32 only. Clippy checks it natively too.
#![cfg(any(target_arch = "wasm32", clippy))]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

#[allow(clippy::pedantic, unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        world: "clawdb:jwt-guard/jwt-guard",
        // The first folder has the packages that the second one uses.
        path: ["../../../../wit/sync", "wit"],
        generate_all,
    });

    use super::JwtGuard;
    export!(JwtGuard with_types_in self);
}

use std::sync::{Mutex, MutexGuard, PoisonError};

use clawdb_session_guard_jwt_core::{Key, Keys, TokenError, TokenRequest, Tokens, Valid};
use uuid::{Builder, Uuid};

use bindings::exports::clawdb::jwt_guard::keys::{self, KeyError};
use bindings::exports::clawdb::session_sync::guard::{
    self, Claims, GuardError, IssueRequest, IssuedToken,
};
use bindings::wasi::clocks::wall_clock;
use bindings::wasi::random::random;

/// The allocator of the session component: it overwrites memory that is freed.
#[cfg(target_arch = "wasm32")]
#[path = "../../../../../src/component/allocator.rs"]
mod allocator;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: allocator::WipingAllocator = allocator::WipingAllocator;

/// The most bytes of a key.
const MAX_KEY: usize = 1_024;
/// The bytes of a UUID.
const ID_BYTES: usize = 16;

/// The tokens; `None` until a key is set.
static TOKENS: Mutex<Option<Tokens>> = Mutex::new(None);

struct JwtGuard;

impl keys::Guest for JwtGuard {
    fn set_key(key: Vec<u8>) -> Result<(), KeyError> {
        if key.len() > MAX_KEY {
            return Err(KeyError::TooLong);
        }
        let key = Key::new(&key).map_err(|_| KeyError::TooShort)?;
        match &mut *tokens() {
            Some(tokens) => tokens.keys_mut().replace(key),
            none => *none = Some(Tokens::new(Keys::new(key))),
        }
        Ok(())
    }

    fn drop_previous_keys() -> u32 {
        let dropped = tokens().as_mut().map(|it| it.keys_mut().drop_previous());
        // At most 8.
        u32::try_from(dropped.unwrap_or(0)).unwrap_or(u32::MAX)
    }
}

impl guard::Guest for JwtGuard {
    fn issue_session_token(request: IssueRequest) -> Result<IssuedToken, GuardError> {
        let tokens = tokens();
        let tokens = tokens.as_ref().ok_or_else(no_key)?;
        let id = random_id().ok_or_else(no_random_bytes)?;
        let wanted = TokenRequest {
            principal: &request.principal,
            session_id: &request.session_id,
            expires_at: request.expires_at,
            full: None,
        };
        let issued = tokens.issue(wanted, id, now()).map_err(guard_error)?;
        Ok(IssuedToken {
            token: issued.token,
            handle: issued.handle,
            expires_at: issued.expires_at,
        })
    }

    fn validate_token(token: String) -> Result<Claims, GuardError> {
        let tokens = tokens();
        let tokens = tokens.as_ref().ok_or_else(no_key)?;
        claims(tokens.validate(&token, now()))
    }

    fn validate_tokens(presented: Vec<String>) -> Vec<Result<Claims, GuardError>> {
        let tokens = tokens();
        let Some(tokens) = &*tokens else {
            return presented.iter().map(|_| Err(no_key())).collect();
        };
        let now = now();
        let valid = presented.iter().map(|token| tokens.validate(token, now));
        valid.map(claims).collect()
    }

    fn revoke_tokens(handles: Vec<String>) -> Vec<Result<(), GuardError>> {
        let tokens = tokens();
        let Some(tokens) = &*tokens else {
            return handles.iter().map(|_| Err(no_key())).collect();
        };
        let now = now();
        let revoked = handles.into_iter().map(|it| tokens.revoke(it, now));
        revoked.map(|it| it.map_err(guard_error)).collect()
    }
}

/// Returns the tokens. One call runs at a time, so this never waits.
fn tokens() -> MutexGuard<'static, Option<Tokens>> {
    TOKENS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the reading of the host's clock, in milliseconds since 1970.
fn now() -> u64 {
    let now = wall_clock::now();
    let millis = u64::from(now.nanoseconds / 1_000_000);
    now.seconds.saturating_mul(1_000).saturating_add(millis)
}

/// Returns an id of random bytes; `None` if the host returns none.
fn random_id() -> Option<Uuid> {
    let mut bytes = Vec::new();
    // `wasi:random` may return fewer bytes than requested. If it returns none, this fails, because
    // a repetition might not end.
    while let Some(missing @ 1..) = ID_BYTES.checked_sub(bytes.len()) {
        let given = random::get_random_bytes(missing as u64);
        if given.is_empty() {
            return None;
        }
        bytes.extend(given.into_iter().take(missing));
    }
    let bytes = bytes.try_into().ok()?;
    Some(Builder::from_random_bytes(bytes).into_uuid())
}

fn claims(valid: Result<Valid, TokenError>) -> Result<Claims, GuardError> {
    let Valid { handle, expires_at } = valid.map_err(guard_error)?;
    Ok(Claims { handle, expires_at })
}

fn no_key() -> GuardError {
    GuardError::Unavailable("the guard has no key: call set-key".into())
}

fn no_random_bytes() -> GuardError {
    GuardError::Unavailable("the host returned no random bytes".into())
}

fn guard_error(error: TokenError) -> GuardError {
    match error {
        TokenError::InvalidToken => GuardError::InvalidToken,
        TokenError::Expired => GuardError::Expired,
        TokenError::Revoked => GuardError::Revoked,
        TokenError::Denied(reason) => GuardError::Denied(reason),
        TokenError::Unavailable(reason) => GuardError::Unavailable(reason),
    }
}
