"""The operations of the component as methods."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from wasmtime.component import Record, Variant

from . import _arguments, _values
from ._arguments import optional_text, optional_u32, optional_u64, text, texts, u32, u64
from ._clock import Clock, check_clock
from ._imports import Entropy, Imports
from ._instance import Instance
from ._signals import DeferredSignals
from ._values import record
from .component import Component, Source
from .errors import Busy, Closed, HostError, InvalidArgument, Reentrant, Trapped
from .guard import Guard
from .model import (
    Change,
    ChangePage,
    Config,
    EventPage,
    Everything,
    FlushReport,
    Grant,
    Overflow,
    Revocation,
    RevokeFilter,
    Role,
    Root,
    Session,
    SessionPage,
    Statistics,
    Validated,
)

_DEFAULT_MAX_MEMORY = 7 << 29
_SIGNALS_AFTER = 0.05
"""How long the handler of a signal waits for a call that waits for another one, in seconds."""
_GUARD_FUNCTIONS = ("issue_session_token", "validate_token", "revoke_token")
_BATCH_FUNCTIONS = ("validate_tokens", "revoke_tokens")


class Sessions:
    """An instance of the component, with its sessions.

    Ids are UUIDs in the hyphenated form. Times are milliseconds since 1970, and durations are
    seconds. `wit/sync` describes each operation in full.

    Any thread can call. One call runs at a time, and the others wait for it. A call that has
    waited for `busy_after` seconds raises `Busy`. While a function of the guard runs, every call
    waits, revocations among them.

    Every method raises `HostError` if the component cannot be asked, and `InvalidArgument` for an
    argument of a wrong type, a number that is out of range, or a text that is not valid Unicode.
    After `Trapped` or `Closed`, each later call raises the same. The sessions are lost then.

    Use it in a `with` statement, or call `close`.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        component: Component | Source | None = None,
        config: Config | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        busy_after: float = 5.0,
        max_memory: int = _DEFAULT_MAX_MEMORY,
    ) -> None:
        """Starts an instance without sessions.

        - `guard`: the token authority.
        - `component`: a compiled component, which instances can share, or a path or bytes to
          compile; by default the file that this package contains.
        - `config`: the limits, as for `configure`.
        - `clock`: returns the nanoseconds since 1970, as `time.time_ns` does; the machine's clock
          by default. It is read once here, and refused if it returns something else than an int
          in the years 2020 to 9999. Later, the component ignores such a reading, and one that
          raises (R6). A `validate` takes a third longer with a clock in Python.
        - `entropy`: returns as many random bytes as it is asked for, as `os.urandom` does; the
          machine's random source by default. If it fails, the operation raises
          `EntropyUnavailable`.
        - `busy_after`: how long a call waits for those before it, in seconds; more than 0.
        - `max_memory`: the most memory of the instance in bytes; 3.5 GiB by default. An instance
          that needs more traps, so keep it well above `max_state_bytes`.

        Raises `StartError` if the component cannot be loaded or started, `SessionError` if it
        refuses `config`, and `TypeError` or `ValueError` for another argument that cannot be
        used.
        """
        _check_guard(guard)
        if clock is not None:
            check_clock(clock)
        if entropy is not None and not callable(entropy):
            raise TypeError("entropy must be a function, such as os.urandom")
        if not 0 < busy_after <= threading.TIMEOUT_MAX:
            raise ValueError("busy_after must be more than 0 and at most threading.TIMEOUT_MAX")
        if not isinstance(component, Component):
            component = Component(component)
        # The store keeps the imports for as long as it exists, so they do not refer to `self`.
        self._imports = Imports(guard, clock, entropy)
        self._instance = Instance(component, self._imports, u64(max_memory, "max_memory"))
        self._busy_after = busy_after
        self._lock = threading.Lock()
        self._holder = 0
        """The thread that holds the lock, or 0."""
        self._ended: HostError | None = None
        if config is not None:
            try:
                self.configure(config)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Sessions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the instance and frees its memory. Its sessions are lost.

        A call in another thread continues to its end, and the memory is freed then.
        """
        if self._ended is None:
            self._ended = Closed()
        self._free_if_ended()

    @property
    def ended(self) -> HostError | None:
        """Returns the reason of the end of the instance, if it has ended."""
        return self._ended

    # The interface `sessions`.

    def create(
        self,
        agent_id: str,
        role: str,
        scopes: Iterable[str] = (),
        *,
        task_type: str | None = None,
        expires_in: int | None = None,
        metadata: str | None = None,
        max_uses: int | None = None,
    ) -> Grant:
        """Creates a session and returns it with its token, which the guard issues.

        - `agent_id`: a UUID. `role`: 1-64 bytes.
        - `scopes`: at most 128, each of 1-256 bytes.
        - `task_type`: 1-128 bytes.
        - `expires_in`: the lifetime in seconds; `default_ttl` of the configuration by default.
        - `metadata`: a JSON text of at most 16,384 bytes, which is kept byte for byte.
        - `max_uses`: how often the session can be used; no limit by default.

        Raises `InvalidArgument`, `LimitReached`, `Collision`, `EntropyUnavailable`, `ClockBehind`,
        `GuardRefused`, or `SessionExpired` if its time ran out before the guard answered.
        """
        request = _request(agent_id, role, scopes, task_type, expires_in, metadata, max_uses)
        return _values.grant(self._call("create", request))

    def delegate(
        self,
        parent_session_id: str,
        agent_id: str,
        role: str,
        scopes: Iterable[str] = (),
        *,
        task_type: str | None = None,
        expires_in: int | None = None,
        metadata: str | None = None,
        max_uses: int | None = None,
    ) -> Grant:
        """Creates a session for a sub-agent, with less than the session `parent_session_id` has.

        The parent's scopes must cover each scope (R25), and the session expires no later than its
        parent. When the parent ends, it ends too (R26).

        Raises the errors of `create`, `SessionNotFound` or `SessionExpired` for the parent, and
        `ScopeDenied` with the first scope that the parent lacks.
        """
        request = _request(agent_id, role, scopes, task_type, expires_in, metadata, max_uses)
        parent = text(parent_session_id, "parent-session-id")
        return _values.grant(self._call("delegate", parent, request))

    def validate(self, token: str) -> Session:
        """Returns the session of a token, and counts a use of it.

        The token must be the current one of a live session, and the guard must validate it (R9).
        Success restarts the idle time and takes a use if uses are limited.

        Raises `InvalidArgument`, `InvalidToken`, `SessionExpired`, `ClockBehind`, `GuardRefused`.
        """
        return _values.session(self._call("validate", text(token, "token")))

    def validate_many(self, tokens: Iterable[str]) -> list[Validated]:
        """Returns the results of `validate` for at most 256 tokens, in their order.

        A result is the session, or the error, which is not raised. A token that is refused does
        not affect the others.

        Raises `InvalidArgument`.
        """
        checked = texts(tokens, "tokens", _arguments.MAX_TOKENS_BYTES)
        return list(map(_values.validated, self._call("validate-many", checked)))

    def authorize(self, token: str, scope: str) -> Session:
        """Returns the session of a token, as `validate` does, if one of its scopes covers `scope`.

        Raises the errors of `validate`, and `ScopeDenied`, which takes no use (R30).
        """
        answer = self._call("authorize", text(token, "token"), text(scope, "scope"))
        return _values.session(answer)

    def rotate(self, token: str) -> Grant:
        """Replaces the token that the bearer of a session presents (R27).

        `expires_at` stays, or becomes earlier if the guard grants less. The old token is invalid
        at once. A token that an earlier rotation replaced ends the session and all below it,
        because two parties have it, unless `rotation_grace` allows one repetition.

        Raises the errors of `validate`, `LimitReached`, `Collision`.
        """
        return _values.grant(self._call("rotate", text(token, "token")))

    def touch(self, session_id: str) -> None:
        """Restarts the idle time of a session (R28).

        Raises `InvalidArgument`, `SessionNotFound`, `SessionExpired`, `ClockBehind`.
        """
        self._call("touch", text(session_id, "session-id"))

    def refresh(self, session_id: str) -> Grant:
        """Gives a session a new token and its full lifetime again from now (R5).

        It expires no later than `max_lifetime` after its creation (R7), and no later than its
        parent. The old token is invalid at once, and the guard is asked to revoke it.

        Raises `InvalidArgument`, `SessionNotFound`, `SessionExpired`, `Collision`, `ClockBehind`,
        `GuardRefused`, `LimitReached`.
        """
        return _values.grant(self._call("refresh", text(session_id, "session-id")))

    def revoke(self, session_id: str) -> Revocation:
        """Ends a session and all below it (R12, R26), before the guard is asked.

        Raises `InvalidArgument`, and `SessionNotFound` if no live session has this id.
        """
        return _values.revocation(self._call("revoke", text(session_id, "session-id")))

    def revoke_by_token(self, token: str) -> Revocation:
        """Ends the session whose current token this is, and all below it: a logout (R35).

        The guard is not asked to validate the token, so this works while it is unavailable.

        Raises `InvalidArgument`, `InvalidToken`.
        """
        return _values.revocation(self._call("revoke-by-token", text(token, "token")))

    def revoke_all_for_agent(self, agent_id: str) -> int:
        """Ends all sessions of an agent and all below them: the kill switch (R13).

        Returns how many live sessions this call ended, those of other agents included. A call ends
        at most 10,000 sessions, and those below the last one. No call accepts the others either,
        and `prune_expired` ends them.

        Raises `InvalidArgument`.
        """
        return int(self._call("revoke-all-for-agent", text(agent_id, "agent-id")))

    def revoke_all(self, filter: RevokeFilter) -> int:
        """Ends the sessions that the filter names and all below them (R31).

        The filter is `Everything()`, `Role(role)` or `Root(session_id)`. Returns how many live
        sessions this call ended. As with `revoke_all_for_agent`, a call ends at most 10,000.

        Raises `InvalidArgument`.
        """
        return int(self._call("revoke-all", _filter(filter)))

    def flush_guard_revocations(self) -> FlushReport:
        """Asks the guard again for revocations that it has not confirmed (R12), at most 1,000."""
        return _values.flush_report(self._call("flush-guard-revocations"))

    def get(self, session_id: str) -> Session:
        """Returns a live session. This does not count as a use of it.

        Raises `InvalidArgument`, `SessionNotFound`, `SessionExpired`, `ClockBehind`.
        """
        return _values.session(self._call("get", text(session_id, "session-id")))

    def list_for_agent(
        self, agent_id: str, *, cursor: int | None = None, limit: int | None = None
    ) -> SessionPage:
        """Returns a page of the live sessions of an agent, oldest first.

        `cursor` is `next` of the previous page. `limit` is 1-1,000; 100 by default.

        Raises `InvalidArgument`.
        """
        page = record(cursor=optional_u64(cursor, "cursor"), limit=optional_u32(limit, "limit"))
        answer = self._call("list-for-agent", text(agent_id, "agent-id"), page)
        return _values.session_page(answer)

    def active_count(self) -> int:
        """Returns how many sessions are live.

        Expired sessions do not count (R15). Those that a kill switch has revoked and not ended yet
        do.
        """
        return int(self._call("active-count"))

    def prune_expired(self, limit: int | None = None) -> int:
        """Ends expired sessions, and those that a kill switch has revoked and not ended.

        Returns how many it ended. It ends at most `limit` sessions (at most, and by default,
        10,000), the earliest first, and in addition all below the last one (R20). If it returns its
        limit, there may be more.
        """
        return int(self._call("prune-expired", optional_u32(limit, "limit")))

    # The interface `legacy`.

    def create_session(
        self,
        agent_id: str,
        role: str,
        scopes: Iterable[str],
        task_type: str | None = None,
    ) -> Grant:
        """Creates a session with the default lifetime: the signature of ClawDB's first manager.

        Raises the errors of `create`.
        """
        return _values.grant(
            self._call(
                "create-session",
                text(agent_id, "agent-id"),
                text(role, "role"),
                texts(scopes, "scopes"),
                optional_text(task_type, "task-type"),
            )
        )

    def get_session(self, id: str) -> Session:
        """Returns a live session, as `get` does: the signature of ClawDB's first manager."""
        return _values.session(self._call("get-session", text(id, "id")))

    def invalidate(self, id: str) -> None:
        """Ends a session and all below it without asking the guard.

        The revocations stay pending for `flush_guard_revocations`.

        Raises `InvalidArgument`, `SessionNotFound`.
        """
        self._call("invalidate", text(id, "id"))

    # The interface `events`.

    def poll_events(self, since: int, limit: int = 100) -> EventPage:
        """Returns the events after the sequence number `since` (0: from the first).

        `limit` is 1-1,000. Reading removes nothing, so any number of readers can each keep their
        own `since`: `next` of the previous page. Compare `run` of the page with that of the
        previous one; in another run, `since` has no meaning.

        Raises `InvalidArgument`.
        """
        answer = self._call("poll-events", u64(since, "since"), u32(limit, "limit"))
        return _values.event_page(answer)

    # The interface `persistence`.

    def changes(self, since: int, limit: int = 1_000) -> ChangePage:
        """Returns the records that changed after the sequence number `since` (0: all) (R23).

        `limit` is 1-1,000. A page ends when its records have about 1 MiB.

        Raises `InvalidArgument`, `NoStateKey`.
        """
        answer = self._call("changes", u64(since, "since"), u32(limit, "limit"))
        return _values.change_page(answer)

    def restore(self, changes: Iterable[Change]) -> None:
        """Restores sessions from at most 1,000 records: from all of them or from none (R23).

        Call it after `configure` and before the first operation on sessions.

        Raises `InvalidArgument`, `NoStateKey`, `AlreadyStarted`, `EntropyUnavailable`,
        `RefusedRecord`, and `LimitReached` if the sessions need more than 3 GiB.
        """
        self._call("restore", _changes(changes))

    def close_event_run(self) -> None:
        """Closes the run of events, so that the next instance continues it without a gap (R17).

        Call it after the last operation, and then read `changes` to the end.

        Raises `NoStateKey`, `EntropyUnavailable`.
        """
        self._call("close-event-run")

    def flush_stored_revocations(self, stored: int) -> FlushReport:
        """Asks the guard again for pending revocations whose records are stored (R12).

        `stored` is `next` of the last page of `changes` that is stored.

        Raises `NoStateKey`.
        """
        answer = self._call("flush-stored-revocations", u64(stored, "stored"))
        return _values.flush_report(answer)

    # The interface `settings`.

    def configure(self, config: Config) -> None:
        """Sets the limits. It can succeed only once, before the first session.

        Raises `InvalidArgument`, `AlreadyConfigured`.
        """
        self._call("configure", _config(config))

    def accept_clock(self) -> int:
        """Ends all sessions and sets the time inside to the reading of the host's clock (R6).

        Returns how many live sessions this call ended, at most 10,000 and those below the last one.
        Repeat it until it raises `ClockNotBehind`.

        Raises `ClockNotBehind` if the clock is not behind by more than `clock_tolerance`.
        """
        return int(self._call("accept-clock"))

    def stats(self) -> Statistics:
        """Returns current figures for monitoring."""
        return _values.statistics(self._call("stats"))

    def _call(self, function: str, *arguments: object) -> Any:
        """Waits for the calls before this one, and calls an operation."""
        thread = threading.get_ident()
        # Another thread cannot store the number of this one.
        if self._holder == thread:
            raise Reentrant
        with DeferredSignals(self._imports.is_in_guard) as signals:
            self._acquire(signals)
            try:
                self._holder = thread
                if self._ended is not None:
                    # A new error, because each `raise` changes the traceback.
                    raise type(self._ended)(*self._ended.args)
                try:
                    return self._instance.call(function, *arguments)
                except Trapped as error:
                    self._ended = Trapped(error.reason)
                    raise
            finally:
                self._holder = 0
                self._lock.release()
                self._free_if_ended()

    def _acquire(self, signals: DeferredSignals) -> None:
        """Waits for the lock. Runs the handlers of signals meanwhile."""
        if self._lock.acquire(blocking=False):
            return
        deadline = time.monotonic() + self._busy_after
        while (left := deadline - time.monotonic()) > 0:
            if self._lock.acquire(timeout=min(left, _SIGNALS_AFTER)):
                return
            signals.deliver()
        raise Busy(self._busy_after)

    def _free_if_ended(self) -> None:
        """Frees the instance if it has ended, unless a thread holds it: that thread frees it."""
        if self._ended is not None and self._lock.acquire(blocking=False):
            try:
                self._instance.close()
            finally:
                self._lock.release()


def _check_guard(guard: object) -> None:
    for name in _GUARD_FUNCTIONS + _BATCH_FUNCTIONS:
        function = getattr(guard, name, None)
        if function is None and name in _BATCH_FUNCTIONS:
            continue
        if not callable(function):
            raise TypeError(f"the guard has no function {name}")
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{name} of the guard is async: a guard of this world cannot wait")


def _request(
    agent_id: object,
    role: object,
    scopes: object,
    task_type: object,
    expires_in: object,
    metadata: object,
    max_uses: object,
) -> Record:
    return record(
        agent_id=text(agent_id, "agent-id"),
        role=text(role, "role"),
        scopes=texts(scopes, "scopes"),
        task_type=optional_text(task_type, "task-type"),
        expires_in=optional_u64(expires_in, "expires-in"),
        metadata=optional_text(metadata, "metadata"),
        max_uses=optional_u32(max_uses, "max-uses"),
    )


def _filter(filter: object) -> Variant:
    match filter:
        case Everything():
            return Variant("everything")
        case Role(role):
            return Variant("role", text(role, "role"))
        case Root(session_id):
            return Variant("root", text(session_id, "root"))
    reason = f"must be Everything, Role or Root, not {type(filter).__name__}"
    raise InvalidArgument("filter", reason)


def _changes(changes: object) -> list[Record]:
    if isinstance(changes, (str, bytes)) or not isinstance(changes, Iterable):
        reason = f"must be an iterable of Change, not {type(changes).__name__}"
        raise InvalidArgument("changes", reason)
    records = []
    size = 0
    for change in changes:
        if not isinstance(change, Change):
            reason = f"must contain only Change, not {type(change).__name__}"
            raise InvalidArgument("changes", reason)
        key = text(change.key, "key")
        value = text(change.value, "value")
        size += len(key.encode()) + len(value.encode())
        _arguments.check_records_size(size)
        records.append(
            record(
                sequence=u64(change.sequence, "sequence"),
                key=key,
                value=value,
                forget_at=optional_u64(change.forget_at, "forget-at"),
            )
        )
    return records


def _config(config: object) -> Record:
    if not isinstance(config, Config):
        reason = f"must be a Config, not {type(config).__name__}"
        raise InvalidArgument("config", reason)
    overflow = config.agent_overflow
    if overflow is not None and not isinstance(overflow, Overflow):
        reason = f"must be an Overflow, not {type(overflow).__name__}"
        raise InvalidArgument("agent-overflow", reason)
    state_key, previous_state_keys = _arguments.keys(config.state_key, config.previous_state_keys)
    return record(
        workspace_id=optional_text(config.workspace_id, "workspace-id"),
        default_ttl=optional_u64(config.default_ttl, "default-ttl"),
        max_lifetime=optional_u64(config.max_lifetime, "max-lifetime"),
        max_sessions=optional_u32(config.max_sessions, "max-sessions"),
        max_sessions_per_agent=optional_u32(
            config.max_sessions_per_agent, "max-sessions-per-agent"
        ),
        agent_overflow=None if overflow is None else overflow.value,
        max_sessions_per_root=optional_u32(config.max_sessions_per_root, "max-sessions-per-root"),
        max_depth=optional_u32(config.max_depth, "max-depth"),
        rotation_grace=optional_u64(config.rotation_grace, "rotation-grace"),
        idle_timeout=optional_u64(config.idle_timeout, "idle-timeout"),
        guard_recheck_interval=optional_u64(
            config.guard_recheck_interval, "guard-recheck-interval"
        ),
        clock_tolerance=optional_u64(config.clock_tolerance, "clock-tolerance"),
        event_capacity=optional_u32(config.event_capacity, "event-capacity"),
        max_state_bytes=optional_u64(config.max_state_bytes, "max-state-bytes"),
        state_key=state_key,
        previous_state_keys=previous_state_keys,
    )
