//! The table of the component's operations. The methods of [`SessionHost`](crate::SessionHost),
//! those of the durable host and the lines of `exec` are made from it.

/// Calls a macro with each operation of the component, one after the other.
///
/// A row is:
///
/// ```text
/// /// What it does: "Returns ..." or "Ends ...", units, bounds.
/// #[errors = "the cases of `SessionError` that it answers"]
/// #[turns(none)]
/// #[durable(run)]
/// fn name(argument: Type, ...) -> Result<Answer, CallError> = interface.call_name
/// ```
///
/// - `errors` is there if the component can refuse the operation. Without it, the error is
///   `HostError`.
/// - `turns` says how many of `HostOptions::max_in_flight` it takes: `none`, or a number. An
///   operation that waits for the guard to issue or check a token takes one for each token. What
///   ends sessions takes none.
/// - `durable` says what a host with a journal does before it answers. `run`: it waits until all
///   that has changed is durable. `used`: it does so if a use was counted, or if the answer says
///   that a session has expired. `read`: nothing. `none`: a durable host does not have the
///   operation.
/// - The types of arguments implement [`Argument`](crate::Argument), which bounds their size.
///   `String` is `impl Into<String>` for callers, and `Tokens` is `Vec<String>`.
/// - The types of answers implement `FromComponent`.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_operation {
    ($row:ident) => {
        $row! {
            /// Returns a new session of an agent, and its token.
            ///
            /// The guard issues the token. [`CreateRequest`] has the bounds of each field. An agent
            /// that has `max-sessions-per-agent` already is refused, or its oldest session ends, as
            /// `agent-overflow` of the configuration says.
            #[errors = "`InvalidArgument`, `LimitReached`, `Collision`, `EntropyUnavailable`, \
                        `ClockBehind`, `Guard`, `SessionRevoked` for a kill switch during the call, \
                        `SessionExpired` if its time ran out during the call, `Conflict`"]
            #[turns(1)]
            #[durable(run)]
            fn create(request: CreateRequest) -> Result<Grant, CallError> = sessions.call_create
        }
        $row! {
            /// Returns a new session below an existing one, and its token.
            ///
            /// Its scopes are covered by those of the parent, and it ends no later than the parent
            /// would now (R25). It ends with its parent (R26).
            #[errors = "those of `create`; `SessionNotFound`, `SessionExpired` and `SessionRevoked` \
                        for the parent; `ScopeDenied` with the first scope that the parent lacks"]
            #[turns(1)]
            #[durable(run)]
            fn delegate(
                parent_session_id: String,
                request: CreateRequest
            ) -> Result<Grant, CallError> = sessions.call_delegate
        }
        $row! {
            /// Returns the session that a token stands for: the hot path.
            ///
            /// It counts as a use of the session, and takes one if uses are limited (R28, R29). A
            /// token has at most 8,192 bytes.
            #[errors = "`InvalidArgument`, `InvalidToken`, `SessionExpired`, `SessionRevoked`, \
                        `ClockBehind`, `Guard`"]
            #[turns(1)]
            #[durable(used)]
            fn validate(token: String) -> Result<Session, CallError> = sessions.call_validate
        }
        $row! {
            /// Returns the sessions that up to 256 tokens stand for, one result for each token, in
            /// their order.
            ///
            /// Each result is as `validate` gives it; a token that is refused does not affect the
            /// others. The guard is asked once. The call waits for a turn for each token, or for
            /// all that there are.
            #[errors = "`InvalidArgument` for more than 256 tokens"]
            #[turns(tokens.len())]
            #[durable(used)]
            fn validate_many(tokens: Tokens) -> Result<Vec<Validated>, CallError> =
                sessions.call_validate_many
        }
        $row! {
            /// Returns the session that a token stands for, if one of its scopes covers this one
            /// (R30).
            ///
            /// It counts as a use of the session, as `validate` does. A scope has 1 to 256 bytes.
            #[errors = "those of `validate`, and `ScopeDenied`, which takes no use"]
            #[turns(1)]
            #[durable(used)]
            fn authorize(token: String, scope: String) -> Result<Session, CallError> =
                sessions.call_authorize
        }
        $row! {
            /// Returns a new token of the session in place of the one that its bearer presents
            /// (R27).
            ///
            /// The session's end stays. A superseded token that is presented was stolen or copied:
            /// the session and all below it end, unless `rotation-grace` of the configuration
            /// allows one repetition.
            #[errors = "those of `validate`; `Conflict` if another rotation or refresh won; \
                        `LimitReached`, `Collision`"]
            #[turns(1)]
            #[durable(run)]
            fn rotate(token: String) -> Result<Grant, CallError> = sessions.call_rotate
        }
        $row! {
            /// Restarts the idle time of a session (R28).
            ///
            /// Without an `idle-timeout` it only checks that the session is live.
            #[errors = "`InvalidArgument`, `SessionNotFound`, `SessionExpired`, `ClockBehind`"]
            #[turns(none)]
            #[durable(run)]
            fn touch(session_id: String) -> Result<(), CallError> = sessions.call_touch
        }
        $row! {
            /// Returns a new token of a session, which has its own lifetime again from now (R5).
            ///
            /// It ends no later than `max-lifetime` after its creation (R7) and than its parent.
            /// The old token is invalid at once, and the guard is asked to revoke it.
            #[errors = "`InvalidArgument`, `SessionNotFound`, `SessionExpired`, `SessionRevoked`, \
                        `Conflict` if another refresh or rotation won, `Collision`, `ClockBehind`, \
                        `Guard`, `LimitReached`"]
            #[turns(1)]
            #[durable(run)]
            fn refresh(session_id: String) -> Result<Grant, CallError> = sessions.call_refresh
        }
        $row! {
            /// Ends a session and all below it (R12, R26). Returns whether the guard has confirmed.
            ///
            /// It takes effect before the guard is asked to revoke the tokens, whatever that
            /// answers.
            #[errors = "`InvalidArgument`; `SessionNotFound` if no live session has this id"]
            #[turns(none)]
            #[durable(run)]
            fn revoke(session_id: String) -> Result<Revocation, CallError> = sessions.call_revoke
        }
        $row! {
            /// Ends the session whose current token this is, and all below it (R35).
            ///
            /// The guard is not asked whether the token is valid, only told to revoke it. No use is
            /// taken.
            #[errors = "`InvalidArgument` for more than 8,192 bytes; `InvalidToken` for any other \
                        token"]
            #[turns(none)]
            #[durable(run)]
            fn revoke_by_token(token: String) -> Result<Revocation, CallError> =
                sessions.call_revoke_by_token
        }
        $row! {
            /// Ends all sessions of an agent and all below them: the kill switch (R13). Returns how
            /// many live sessions it ended.
            ///
            /// Creates, delegations, refreshes and rotations of the agent that are in flight fail.
            /// The guard is asked to revoke at most 1,000 tokens; the others wait for
            /// `flush_guard_revocations`.
            #[errors = "`InvalidArgument`"]
            #[turns(none)]
            #[durable(run)]
            fn revoke_all_for_agent(agent_id: String) -> Result<u32, CallError> =
                sessions.call_revoke_all_for_agent
        }
        $row! {
            /// Ends all sessions that the filter names and all below them (R31). Returns how many
            /// live sessions it ended.
            ///
            /// It works as `revoke_all_for_agent` does.
            #[errors = "`InvalidArgument`"]
            #[turns(none)]
            #[durable(run)]
            fn revoke_all(filter: RevokeFilter) -> Result<u32, CallError> =
                sessions.call_revoke_all
        }
        $row! {
            /// Asks the guard again for revocations that it has not confirmed (R12), at most 1,000.
            /// Returns how many are settled, and how many are left.
            #[turns(none)]
            #[durable(run)]
            fn flush_guard_revocations() -> Result<FlushReport, HostError> =
                sessions.call_flush_guard_revocations
        }
        $row! {
            /// Returns a live session.
            #[errors = "`InvalidArgument`, `SessionNotFound`, `SessionExpired`, `ClockBehind`"]
            #[turns(none)]
            #[durable(used)]
            fn get(session_id: String) -> Result<Session, CallError> = sessions.call_get
        }
        $row! {
            /// Returns a page of the live sessions of an agent, oldest first: 1 to 1,000 of them,
            /// 100 by default.
            #[errors = "`InvalidArgument`"]
            #[turns(none)]
            #[durable(read)]
            fn list_for_agent(agent_id: String, page: Page) -> Result<SessionPage, CallError> =
                sessions.call_list_for_agent
        }
        $row! {
            /// Returns how many sessions are live.
            #[turns(none)]
            #[durable(read)]
            fn active_count() -> Result<u32, HostError> = sessions.call_active_count
        }
        $row! {
            /// Ends sessions that have expired, the earliest first. Returns how many it ended.
            ///
            /// It ends at most `limit` sessions, at most 10,000, and besides those all below the
            /// last one.
            #[turns(none)]
            #[durable(run)]
            fn prune_expired(limit: Option<u32>) -> Result<u32, HostError> =
                sessions.call_prune_expired
        }
        $row! {
            /// Returns a new session of an agent with the default lifetime, and its token, as
            /// `create` does: `ClawDB`'s original signature.
            #[errors = "those of `create`"]
            #[turns(1)]
            #[durable(run)]
            fn create_session(
                agent_id: String,
                role: String,
                scopes: Vec<String>,
                task_type: Option<String>
            ) -> Result<Grant, CallError> = legacy.call_create_session
        }
        $row! {
            /// Returns a live session as `get` does: `ClawDB`'s original signature.
            #[errors = "those of `get`"]
            #[turns(none)]
            #[durable(used)]
            fn get_session(id: String) -> Result<Session, CallError> = legacy.call_get_session
        }
        $row! {
            /// Ends a session and all below it without asking the guard: `ClawDB`'s original
            /// signature.
            ///
            /// The guard's revocations are kept for `flush_guard_revocations`.
            #[errors = "`InvalidArgument`; `SessionNotFound` if no live session has this id"]
            #[turns(none)]
            #[durable(run)]
            fn invalidate(id: String) -> Result<(), CallError> = legacy.call_invalidate
        }
        $row! {
            /// Returns the events after the sequence number `since` (0: from the first), at most
            /// `limit` of them: 1 to 1,000.
            #[errors = "`InvalidArgument`"]
            #[turns(none)]
            #[durable(read)]
            fn poll_events(since: u64, limit: u32) -> Result<EventPage, CallError> =
                events.call_poll_events
        }
        $row! {
            /// Returns the records that changed after the sequence number `since` (0: all), at most
            /// `limit` of them (1 to 1,000) and about 1 MiB (R23).
            #[errors = "`InvalidArgument`, `NoStateKey`"]
            #[turns(none)]
            #[durable(none)]
            fn changes(since: u64, limit: u32) -> Result<ChangePage, CallError> =
                persistence.call_changes
        }
        $row! {
            /// Restores records, all of them or none: at most 1,000, of 16 MiB together (R23).
            ///
            /// It comes after `configure` and before the first operation on sessions.
            #[errors = "`InvalidArgument`, `NoStateKey`, `AlreadyStarted`, `EntropyUnavailable`; \
                        `RefusedRecord` with what is wrong; `LimitReached` beyond 3 GiB"]
            #[turns(none)]
            #[durable(none)]
            fn restore(changes: Vec<Change>) -> Result<(), CallError> = persistence.call_restore
        }
        $row! {
            /// Closes the run of events, so that the next instance continues it (R17).
            #[errors = "`NoStateKey`, `EntropyUnavailable`"]
            #[turns(none)]
            #[durable(none)]
            fn close_event_run() -> Result<(), CallError> = persistence.call_close_event_run
        }
        $row! {
            /// Sets the limits, once and before the first session. [`Config`] has the bounds of
            /// each.
            #[errors = "`InvalidArgument`, `AlreadyConfigured`"]
            #[turns(none)]
            #[durable(none)]
            fn configure(config: Config) -> Result<(), CallError> = settings.call_configure
        }
        $row! {
            /// Ends all sessions and lets the time inside go on from the host's clock (R6). Returns
            /// how many live sessions it ended.
            #[errors = "`ClockNotBehind` when the lag is within `clock-tolerance`"]
            #[turns(none)]
            #[durable(run)]
            fn accept_clock() -> Result<u32, CallError> = settings.call_accept_clock
        }
        $row! {
            /// Returns figures of this moment for monitoring.
            #[turns(none)]
            #[durable(read)]
            fn stats() -> Result<Statistics, HostError> = settings.call_stats
        }
    };
}

/// Stands for the type that a method takes for an argument of the table.
#[doc(hidden)]
#[macro_export]
macro_rules! parameter {
    (String) => { impl Into<String> };
    (Tokens) => { Vec<String> };
    ($type:ty) => { $type };
}
