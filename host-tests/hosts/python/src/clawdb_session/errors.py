"""The errors of calls and of starts.

`CallError` is the base of all errors of a call. `SessionError` and its subclasses are the
component's refusals: one class for each case of `sessions.error`. `HostError` and its subclasses
mean that the component could not be asked.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from .guard import GuardError


class Limit(str, Enum):
    """A limit that was reached."""

    MAX_SESSIONS = "max-sessions"
    MAX_SESSIONS_PER_AGENT = "max-sessions-per-agent"
    MAX_STATE_BYTES = "max-state-bytes"
    MAX_SESSIONS_PER_ROOT = "max-sessions-per-root"
    MAX_DEPTH = "max-depth"
    MAX_USES = "max-uses"
    SUBSCRIBERS = "subscribers"
    UNCONFIRMED_REVOCATIONS = "unconfirmed-revocations"


class Duplicate(str, Enum):
    """A value that has to be unique and was repeated (R16)."""

    SESSION_ID = "session-id"
    TOKEN = "token"
    HANDLE = "handle"
    AGENT_ID = "agent-id"
    ROLE = "role"


class StartError(Exception):
    """The component could not be loaded, or an instance could not be started."""


class CallError(Exception):
    """The base of all errors of a call.

    `kind` is the contract's name of a `SessionError`, and this package's name of a `HostError`.
    """

    kind: ClassVar[str]


class SessionError(CallError):
    """The component refused the operation.

    Nothing has changed, except as the contract says: `rotate` with a stolen token ends the
    session, and an expired session that is found ends.
    """

    def __str__(self) -> str:
        return ": ".join((self.kind, *(_text(argument) for argument in self.args)))


def _text(value: object) -> str:
    return str(value.value) if isinstance(value, Enum) else str(value)


class InvalidArgument(SessionError, ValueError):
    """An argument is malformed or outside its bounds (R1, R2), or of a wrong type.

    `field` is the argument's name in the contract, such as `expires-in`.
    """

    kind = "invalid-argument"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason


class InvalidToken(SessionError):
    """The token is unknown, malformed, superseded, of an ended session, or bound elsewhere."""

    kind = "invalid-token"


class SessionNotFound(SessionError):
    """No live session has this id."""

    kind = "session-not-found"


class SessionExpired(SessionError):
    """The session, or one above it, has expired or ran out of uses. It has ended."""

    kind = "session-expired"


class SessionRevoked(SessionError):
    """Does not occur in this world, where calls do not overlap."""

    kind = "session-revoked"


class Conflict(SessionError):
    """Does not occur in this world, where calls do not overlap."""

    kind = "conflict"


class LimitReached(SessionError):
    """A limit is reached."""

    kind = "limit-reached"

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self.limit = limit


class ScopeDenied(SessionError):
    """The session lacks this scope (R25, R30)."""

    kind = "scope-denied"

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


class GuardRefused(SessionError):
    """The guard refused or failed. `error` is its answer."""

    kind = "guard"

    def __init__(self, error: GuardError) -> None:
        super().__init__(error)
        self.error = error


class AlreadyConfigured(SessionError):
    """`configure` has succeeded before, or there has been a session."""

    kind = "already-configured"


class AlreadyStarted(SessionError):
    """`restore` was called after the first operation on sessions, or after `changes` had returned
    restored records as new changes."""

    kind = "already-started"


class NoStateKey(SessionError):
    """An operation on records was called, and `configure` has set no `state_key`."""

    kind = "no-state-key"


class RefusedRecord(SessionError):
    """`restore` refused a record, and restored none of this call's records (R24)."""

    kind = "refused-record"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason


class Collision(SessionError):
    """The random source, the guard or a hash repeated a value that must be unique (R16)."""

    kind = "collision"

    def __init__(self, duplicate: Duplicate) -> None:
        super().__init__(duplicate)
        self.duplicate = duplicate


class EntropyUnavailable(SessionError):
    """The host gave no random bytes, so no id or key could be made."""

    kind = "entropy-unavailable"


class ClockBehind(SessionError):
    """The host's clock is `lag` milliseconds before the time inside (R6)."""

    kind = "clock-behind"

    def __init__(self, lag: int) -> None:
        super().__init__(lag)
        self.lag = lag


class ClockNotBehind(SessionError):
    """`accept_clock` was called, and the lag is within `clock_tolerance` (R6)."""

    kind = "clock-not-behind"


class HostError(CallError):
    """The component could not be asked, or ended during the call."""


class Trapped(HostError):
    """The instance has ended by a trap, and its sessions are lost. Each later call raises this."""

    kind = "trap"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the instance trapped: {self.reason}"


class Closed(HostError):
    """The instance was closed. Each later call raises this."""

    kind = "closed"

    def __str__(self) -> str:
        return "the instance is closed"


class Busy(HostError):
    """Calls before this one took longer than `busy_after`. The call has not taken effect."""

    kind = "busy"

    def __init__(self, waited: float) -> None:
        super().__init__(waited)
        self.waited = waited

    def __str__(self) -> str:
        return f"busy: calls before this one took longer than {self.waited:g} s"


class Reentrant(HostError):
    """The guard, the clock or the random source called the instance that waits for it.

    The call has not taken effect.
    """

    kind = "reentrant"

    def __str__(self) -> str:
        return "a function that the instance waits for has called the instance"
