//! The table of the component's operations. The methods of all hosts, the exports of an instance of
//! the world `session-sync`, and the lines of `exec` are made from it.

/// Calls a macro once for each operation of the component.
///
/// A row of the table is:
///
/// ```text
/// /// The documentation of the methods: "Returns ..." or "Ends ...", units, bounds.
/// #[errors("the cases of `SessionError` that the operation returns")]
/// #[permits(none)]
/// #[durable(run)]
/// fn name(argument: Type, ...) -> Result<Answer, CallError> = interface.call_name
/// ```
///
/// - `errors` is present if the component can refuse the operation. It is one sentence in one or
///   more strings. Without it, the error type is `HostError`.
/// - `permits` is how many of the `HostOptions::max_in_flight` permits the call takes: `none`, or a
///   number. An operation that can ask the guard to issue or validate a token takes one permit for
///   each token. All other operations take none.
/// - `durable` is what a host with a journal does before it answers. With `run` it waits until all
///   changes are durable. With `rotate` it does the same, and keeps the answer for a repetition of
///   the call. With `confirm` it does the same as with `run`, and the answer says whether the guard
///   has confirmed a revocation. With `flush` it does the same, and the operation asks the guard to
///   revoke tokens. With `used` it waits if the returned session has limited uses, or if the answer
///   is that a session has expired. With `read` it does nothing. With `none`, a durable host does
///   not have the operation.
/// - The types of arguments implement [`Argument`](crate::Argument), which bounds their size.
///   Callers pass `impl Into<String>` for `String`, and `Vec<String>` for `Tokens`.
/// - The types of answers implement `FromComponent`.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_operation {
    ($row:ident) => {
        $crate::operation_table!([$crate::each_operation][{ $row }]);
    };
}

/// Calls a macro once with all operations: with `{ row }` for each of them.
#[doc(hidden)]
#[macro_export]
macro_rules! for_all_operations {
    ($callback:ident) => {
        $crate::operation_table!([$callback] []);
    };
}

/// Calls the first macro with the second one's name, and then each row in braces.
#[doc(hidden)]
#[macro_export]
macro_rules! each_operation {
    ({ $row:ident } $({ $($operation:tt)* })*) => {
        $($row! { $($operation)* })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! operation_table {
    ([$($callback:tt)*] [$($first:tt)*]) => {
        $($callback)*! { $($first)*
        {
            /// Creates a session of an agent, and returns it with its token.
            ///
            /// The guard issues the token. [`CreateRequest`] documents the bounds of each field.
            /// The session lives for `expires_in` seconds, or for `default-ttl` of the
            /// configuration (3,600 s by default). If the agent has `max-sessions-per-agent`
            /// already, `agent-overflow` of the configuration decides: the create is refused, or
            /// the agent's oldest session ends (R33).
            #[errors(
                "`InvalidArgument`, `LimitReached`, `Collision`, `EntropyUnavailable`, ",
                "`ClockBehind`, `Guard`; `SessionRevoked` if a kill switch takes effect during ",
                "the call; `SessionExpired` if the session's time runs out during the call; ",
                "`Conflict` if the session is refreshed before this returns"
            )]
            #[permits(1)]
            #[durable(run)]
            fn create(request: CreateRequest) -> Result<Grant, CallError> = sessions.call_create
        }
        {
            /// Creates a session below an existing one, for a sub-agent, and returns it with its
            /// token.
            ///
            /// The parent's scopes must cover each of its scopes. It expires at the end of its
            /// lifetime or at the parent's current `expires_at`, whichever is earlier (R25), and it
            /// ends with its parent (R26). A parent with limited uses cannot delegate (R29).
            /// `max-depth` and `max-sessions-per-root` of the configuration limit the sessions
            /// below a root.
            #[errors(
                "those of `create`; `SessionNotFound`, `SessionExpired` and `SessionRevoked` for ",
                "the parent; `ScopeDenied` with the first scope that the parent lacks"
            )]
            #[permits(1)]
            #[durable(run)]
            fn delegate(
                parent_session_id: String,
                request: CreateRequest
            ) -> Result<Grant, CallError> = sessions.call_delegate
        }
        {
            /// Returns the session of a token, and counts a use of it.
            ///
            /// The token must be the current one of a live session, and the guard must validate it
            /// (R9). A token has at most 8,192 bytes. Success restarts the idle time (R28) and
            /// takes one use if uses are limited (R29); the last use ends the session.
            #[errors(
                "`InvalidArgument`, `InvalidToken`, `SessionExpired`, `SessionRevoked`, ",
                "`ClockBehind`, `Guard`"
            )]
            #[permits(1)]
            #[durable(used)]
            fn validate(token: String) -> Result<Session, CallError> = sessions.call_validate
        }
        {
            /// Returns the results of `validate` for at most 256 tokens, in the order of the
            /// tokens.
            ///
            /// A token that is refused does not affect the others. The guard is asked about all
            /// tokens in one call, and in a second call about those whose cached validation is
            /// dropped meanwhile (R34). The call takes one permit for each token, or all permits if
            /// there are fewer.
            #[errors("`InvalidArgument` for more than 256 tokens")]
            #[permits(tokens.len())]
            #[durable(used)]
            fn validate_many(tokens: Tokens) -> Result<Vec<Validated>, CallError> =
                sessions.call_validate_many
        }
        {
            /// Returns the session of `token` if one of its scopes covers `scope` (R30), and counts
            /// a use of it as `validate` does.
            ///
            /// A scope has 1 to 256 bytes, and a token at most 8,192.
            #[errors(
                "those of `validate`; `ScopeDenied` if no scope of the session covers `scope`, ",
                "which takes no use"
            )]
            #[permits(1)]
            #[durable(used)]
            fn authorize(token: String, scope: String) -> Result<Session, CallError> =
                sessions.call_authorize
        }
        {
            /// Replaces the token that the bearer of a session presents, and returns the session
            /// with its new token (R27).
            ///
            /// `expires_at` stays, or becomes earlier if the guard grants less. The old token is
            /// invalid at once. A token that an earlier rotation replaced ends the session and all
            /// below it, because two parties have it, unless `rotation-grace` of the configuration
            /// allows one repetition. A token that a refresh replaced is only refused.
            #[errors(
                "those of `validate`; `Conflict` if another rotation or refresh succeeded; ",
                "`LimitReached`, `Collision`"
            )]
            #[permits(1)]
            #[durable(rotate)]
            fn rotate(token: String) -> Result<Grant, CallError> = sessions.call_rotate
        }
        {
            /// Restarts the idle time of a session (R28).
            ///
            /// Without an `idle-timeout` in the configuration it only checks that the session is
            /// live.
            #[errors("`InvalidArgument`, `SessionNotFound`, `SessionExpired`, `ClockBehind`")]
            #[permits(none)]
            #[durable(run)]
            fn touch(session_id: String) -> Result<(), CallError> = sessions.call_touch
        }
        {
            /// Gives a session a new token and its full lifetime again from now (R5), and returns
            /// both.
            ///
            /// The session expires no later than `max-lifetime` after its creation (R7), and no
            /// later than its parent (R25). Sessions below it are not lengthened. The old token is
            /// invalid at once, and the guard is asked to revoke it.
            #[errors(
                "`InvalidArgument`, `SessionNotFound`, `SessionExpired`, `SessionRevoked`, ",
                "`Collision`, `ClockBehind`, `Guard`, `LimitReached`; `Conflict` if another ",
                "refresh or rotation succeeded"
            )]
            #[permits(1)]
            #[durable(run)]
            fn refresh(session_id: String) -> Result<Grant, CallError> = sessions.call_refresh
        }
        {
            /// Ends a session and all below it (R12, R26). Returns whether the guard has confirmed.
            ///
            /// The sessions end before the guard is asked to revoke their tokens, and stay ended
            /// whatever it answers. A revocation that it does not confirm stays pending for
            /// `flush_guard_revocations`.
            #[errors("`InvalidArgument`; `SessionNotFound` if no live session has this id")]
            #[permits(none)]
            #[durable(confirm)]
            fn revoke(session_id: String) -> Result<Revocation, CallError> = sessions.call_revoke
        }
        {
            /// Ends the session whose current token is `token`, and all below it: a logout (R35).
            /// Returns whether the guard has confirmed.
            ///
            /// The guard is asked to revoke the token, but not to validate it, so a logout works
            /// while the guard is unavailable. It takes no use.
            #[errors(
                "`InvalidArgument` for more than 8,192 bytes; `InvalidToken` for a token that is ",
                "not the current one of a live session"
            )]
            #[permits(none)]
            #[durable(confirm)]
            fn revoke_by_token(token: String) -> Result<Revocation, CallError> =
                sessions.call_revoke_by_token
        }
        {
            /// Ends all sessions of an agent and all below them: the kill switch (R13). Returns how
            /// many live sessions it ended, those of other agents included.
            ///
            /// Creates, delegations, refreshes and rotations of the agent that are in flight fail.
            /// All this takes effect before the guard is asked to revoke the tokens. The call asks
            /// the guard for at most 1,000 revocations. The others stay pending for
            /// `flush_guard_revocations`.
            ///
            /// A call ends at most 10,000 sessions, and those below the last one. No call accepts
            /// the others either, and `prune_expired` ends them.
            #[errors("`InvalidArgument`")]
            #[permits(none)]
            #[durable(run)]
            fn revoke_all_for_agent(agent_id: String) -> Result<u32, CallError> =
                sessions.call_revoke_all_for_agent
        }
        {
            /// Ends the sessions that the filter names and all below them, as
            /// `revoke_all_for_agent` does (R31). Returns how many live sessions this call ended.
            #[errors("`InvalidArgument`")]
            #[permits(none)]
            #[durable(run)]
            fn revoke_all(filter: RevokeFilter) -> Result<u32, CallError> =
                sessions.call_revoke_all
        }
        {
            /// Asks the guard again for revocations that it has not confirmed (R12), at most 1,000.
            /// Returns how many this settled and how many are pending.
            ///
            /// The guard is asked in batches. The flush stops after a batch in which the guard is
            /// unavailable for a token. The next flush continues after the first such token.
            #[permits(none)]
            #[durable(flush)]
            fn flush_guard_revocations() -> Result<FlushReport, HostError> =
                sessions.call_flush_guard_revocations
        }
        {
            /// Returns a live session. This does not count as a use of it.
            #[errors("`InvalidArgument`, `SessionNotFound`, `SessionExpired`, `ClockBehind`")]
            #[permits(none)]
            #[durable(used)]
            fn get(session_id: String) -> Result<Session, CallError> = sessions.call_get
        }
        {
            /// Returns a page of the live sessions of an agent, oldest first.
            ///
            /// A page has at most `limit` sessions: 1 to 1,000, 100 by default. Its `next` is the
            /// `cursor` of the next page.
            #[errors("`InvalidArgument`")]
            #[permits(none)]
            #[durable(read)]
            fn list_for_agent(agent_id: String, page: Page) -> Result<SessionPage, CallError> =
                sessions.call_list_for_agent
        }
        {
            /// Returns how many sessions are live. Expired sessions do not count (R15). Those that
            /// a kill switch has revoked and not ended yet do.
            #[permits(none)]
            #[durable(read)]
            fn active_count() -> Result<u32, HostError> = sessions.call_active_count
        }
        {
            /// Ends expired sessions, the earliest first, and sessions that a kill switch has
            /// revoked and not ended. Returns how many it ended.
            ///
            /// It ends at most `limit` sessions (at most, and by default, 10,000), and in addition
            /// all below the last one (R20). If it returns its limit, there may be more.
            #[permits(none)]
            #[durable(run)]
            fn prune_expired(limit: Option<u32>) -> Result<u32, HostError> =
                sessions.call_prune_expired
        }
        {
            /// Creates a session with the default lifetime and returns it with its token, as
            /// `create` does: `ClawDB`'s original signature.
            #[errors("those of `create`")]
            #[permits(1)]
            #[durable(run)]
            fn create_session(
                agent_id: String,
                role: String,
                scopes: Vec<String>,
                task_type: Option<String>
            ) -> Result<Grant, CallError> = legacy.call_create_session
        }
        {
            /// Returns a live session, as `get` does: `ClawDB`'s original signature.
            #[errors("those of `get`")]
            #[permits(none)]
            #[durable(used)]
            fn get_session(id: String) -> Result<Session, CallError> = legacy.call_get_session
        }
        {
            /// Ends a session and all below it without asking the guard: `ClawDB`'s original
            /// signature.
            ///
            /// The revocations stay pending for `flush_guard_revocations`.
            #[errors("`InvalidArgument`; `SessionNotFound` if no live session has this id")]
            #[permits(none)]
            #[durable(run)]
            fn invalidate(id: String) -> Result<(), CallError> = legacy.call_invalidate
        }
        {
            /// Returns the events after the sequence number `since` (0: from the first), at most
            /// `limit` of them: 1 to 1,000.
            ///
            /// `missed` of the page counts the events after `since` that are no longer kept (R18).
            #[errors("`InvalidArgument`")]
            #[permits(none)]
            #[durable(read)]
            fn poll_events(since: u64, limit: u32) -> Result<EventPage, CallError> =
                events.call_poll_events
        }
        {
            /// Returns the records that changed after the sequence number `since` (0: all), at most
            /// `limit` of them (1 to 1,000) and about 1 MiB (R23).
            #[errors("`InvalidArgument`, `NoStateKey`")]
            #[permits(none)]
            #[durable(none)]
            fn changes(since: u64, limit: u32) -> Result<ChangePage, CallError> =
                persistence.call_changes
        }
        {
            /// Restores sessions from records (R23): from all records of the call or from none.
            ///
            /// A call takes at most 1,000 records, which have at most 16 MiB together. Call it
            /// after `configure` and before the first operation on sessions.
            #[errors(
                "`InvalidArgument`, `NoStateKey`, `AlreadyStarted`, `EntropyUnavailable`; ",
                "`RefusedRecord` with the record's key and the reason; `LimitReached` if the ",
                "sessions need more than 3 GiB"
            )]
            #[permits(none)]
            #[durable(none)]
            fn restore(changes: Vec<Change>) -> Result<(), CallError> = persistence.call_restore
        }
        {
            /// Closes the run of events, so that the next instance continues it without a gap
            /// (R17).
            ///
            /// Call it after the last operation, and then read `changes` to the end.
            #[errors("`NoStateKey`, `EntropyUnavailable`")]
            #[permits(none)]
            #[durable(none)]
            fn close_event_run() -> Result<(), CallError> = persistence.call_close_event_run
        }
        {
            /// Asks the guard again for pending revocations, as `flush_guard_revocations` does, but
            /// only for those that are recorded in the changes up to the sequence number `stored`
            /// (R12).
            ///
            /// `stored` is the `next` of the last page of `changes` that is stored.
            #[errors("`NoStateKey`")]
            #[permits(none)]
            #[durable(none)]
            fn flush_stored_revocations(stored: u64) -> Result<FlushReport, CallError> =
                persistence.call_flush_stored_revocations
        }
        {
            /// Sets the configuration. It can succeed only once, and only while the instance has
            /// had no session and no create is in flight.
            ///
            /// [`Config`] documents the bounds of each field.
            #[errors("`InvalidArgument`, `AlreadyConfigured`")]
            #[permits(none)]
            #[durable(none)]
            fn configure(config: Config) -> Result<(), CallError> = settings.call_configure
        }
        {
            /// Ends all sessions and sets the component's time (the *time inside* of the contract)
            /// to the reading of the host's clock (R6). Returns how many live sessions this call
            /// ended.
            ///
            /// Creates, delegations, refreshes and rotations in flight fail. A call ends at most
            /// 10,000 sessions, and those below the last one. If some were left, the time stays:
            /// repeat the call until it returns `ClockNotBehind`.
            #[errors(
                "`ClockNotBehind` if the host's clock is not behind by more than ",
                "`clock-tolerance`"
            )]
            #[permits(none)]
            #[durable(run)]
            fn accept_clock() -> Result<u32, CallError> = settings.call_accept_clock
        }
        {
            /// Returns the current figures for monitoring.
            #[permits(none)]
            #[durable(read)]
            fn stats() -> Result<Statistics, HostError> = settings.call_stats
        }
        }
    };
}

/// Expands to the type of a method's parameter for an argument of the table.
#[doc(hidden)]
#[macro_export]
macro_rules! parameter {
    (String) => { impl Into<String> };
    (Tokens) => { Vec<String> };
    ($type:ty) => { $type };
}
