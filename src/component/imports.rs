//! The ports of the core, implemented with the imports of the world.

use std::rc::Rc;

use super::bindings::wasi::random::random;
use super::bindings::{call_guard, clock_reading, guard};
use crate::{Claims, Clock, Guard, GuardError, IssueRequest, IssuedToken, Timestamp, Token};

/// The host's guard.
pub(super) struct HostGuard;

impl Guard for HostGuard {
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError> {
        let wanted = guard::IssueRequest {
            principal: request.principal(),
            task: request.task().into(),
            session_id: request.session_id.into(),
            agent_id: request.agent_id.into(),
            workspace_id: request.workspace_id.into(),
            role: request.attributes.role.as_str().into(),
            scopes: request.attributes.scopes.to_list(),
            expires_at: request.expires_at.as_millis(),
        };
        let issued = call_guard!(issue_session_token(wanted))?;
        Ok(IssuedToken {
            token: issued.token,
            handle: issued.handle,
            expires_at: Timestamp::from_millis(issued.expires_at),
        })
    }

    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError> {
        Ok(call_guard!(validate_token(token.into_exposed()))?.into())
    }

    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>> {
        let tokens: Vec<_> = tokens.into_iter().map(Token::into_exposed).collect();
        let results = call_guard!(validate_tokens(tokens)).into_iter();
        results.map(|result| Ok(result?.into())).collect()
    }

    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>> {
        let handles: Vec<_> = handles
            .iter()
            .map(|handle| String::from(&**handle))
            .collect();
        let results = call_guard!(revoke_tokens(handles)).into_iter();
        results.map(|result| result.map_err(Into::into)).collect()
    }
}

/// The host's clock.
pub(super) struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Option<Timestamp> {
        let (seconds, nanoseconds) = clock_reading();
        Timestamp::from_unix(seconds, nanoseconds)
    }
}

/// Fills `len` bytes from `wasi:random`, which may return fewer bytes than requested. `getrandom`
/// calls this function on this target, because of `--cfg getrandom_backend="custom"`.
///
/// # Safety
/// `dest` must be valid for writes of `len` bytes, as `getrandom` promises its backend.
#[expect(unsafe_code, reason = "getrandom calls it with a pointer")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    dest: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    // SAFETY: the caller guarantees that `len` bytes are writable. Zeroing initialises them for the
    // slice.
    let mut missing = unsafe {
        dest.write_bytes(0, len);
        std::slice::from_raw_parts_mut(dest, len)
    };
    while !missing.is_empty() {
        let given = random::get_random_bytes(missing.len() as u64);
        // If the source returns too many bytes, the excess is ignored. If it returns none, this
        // fails, because a repetition might not end.
        let count = given.len().min(missing.len());
        let (Some(bytes), Some((filled, rest))) =
            (given.get(..count), missing.split_at_mut_checked(count))
        else {
            return Err(getrandom::Error::UNEXPECTED);
        };
        if filled.is_empty() {
            return Err(getrandom::Error::UNEXPECTED);
        }
        filled.copy_from_slice(bytes);
        missing = rest;
    }
    Ok(())
}
