"""The values that operations return, and those that they take.

The names are those of the contract (`wit/sync`), with underscores. Times are milliseconds since
1970-01-01T00:00:00Z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import TypeAlias

from .errors import SessionError
from .guard import GuardError

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_datetime(timestamp: int) -> datetime:
    """Returns a time of the component as a `datetime` in UTC."""
    return _EPOCH + timedelta(milliseconds=timestamp)


class EndReason(str, Enum):
    """Why a session ended."""

    REVOKED = "revoked"
    REVOKED_ALL = "revoked-all"
    CASCADE = "cascade"
    INVALIDATED = "invalidated"
    EXPIRED = "expired"
    IDLE = "idle"
    MAX_LIFETIME = "max-lifetime"
    EXHAUSTED = "exhausted"
    THEFT = "theft"
    LIMIT = "limit"


class Denial(str, Enum):
    """Why an attempt with a live session was refused (R32)."""

    SUPERSEDED = "superseded"
    GUARD = "guard"
    HANDLE = "handle"
    SCOPE = "scope"
    DELEGATION = "delegation"


class EventKind(str, Enum):
    """What happened to a session."""

    CREATED = "created"
    REFRESHED = "refreshed"
    ROTATED = "rotated"
    ENDED = "ended"
    DENIED = "denied"


class Overflow(str, Enum):
    """What happens to a create when the agent has `max_sessions_per_agent` sessions (R33)."""

    REFUSE = "refuse"
    EVICT_OLDEST = "evict-oldest"


@dataclass(frozen=True)
class Session:
    """A live session."""

    id: str
    agent_id: str
    workspace_id: str
    role: str
    scopes: tuple[str, ...]
    task_type: str | None
    created_at: int
    expires_at: int
    metadata: str
    """A JSON text, byte for byte as in the request."""
    parent: str | None
    """The session that it was delegated from."""
    root: str
    """The session at the top of the delegations."""
    generation: int
    """The number of its current token: 0 for the first."""
    uses_left: int | None


@dataclass(frozen=True)
class Grant:
    """A session and its bearer token. `repr` does not show the token."""

    session: Session
    token: str = field(repr=False)


@dataclass(frozen=True)
class Revocation:
    """The result of a revocation. The session has ended in any case."""

    session_id: str
    guard_confirmed: bool
    """Whether the token is invalid with the guard too. If not, the revocation stays pending."""
    guard_error: GuardError | None
    descendants: int
    """How many live sessions below it ended with it."""


@dataclass(frozen=True)
class Everything:
    """A filter of `revoke_all`: all sessions."""


@dataclass(frozen=True)
class Role:
    """A filter of `revoke_all`: the sessions with this role."""

    role: str


@dataclass(frozen=True)
class Root:
    """A filter of `revoke_all`: the session with this id, if `create` made it, and all below."""

    session_id: str


RevokeFilter: TypeAlias = Everything | Role | Root


@dataclass(frozen=True)
class FlushReport:
    """The result of a flush."""

    settled: int
    pending: int


@dataclass(frozen=True)
class SessionPage:
    """A part of a listing, oldest session first."""

    sessions: tuple[Session, ...]
    next: int | None
    """The cursor of the next page; none if no live session follows."""


@dataclass(frozen=True)
class Event:
    """One thing that happened to one session."""

    run: int
    sequence: int
    time: int
    session_id: str
    agent_id: str
    parent: str | None
    root: str
    generation: int
    kind: EventKind
    reason: EndReason | Denial | None
    """Why, if `kind` is `ENDED` or `DENIED`."""
    missed: int = 0
    """Always 0 in this world, where the page has the number of the events that are lost."""


@dataclass(frozen=True)
class EventPage:
    """A page of events."""

    events: tuple[Event, ...]
    next: int
    """The `since` of the next page."""
    missed: int
    """How many events after `since` are lost, because they are no longer kept."""
    run: int
    """The current run of events; 0 before there is one."""


@dataclass(frozen=True)
class Change:
    """A record of the state, and its place in the feed (R23)."""

    sequence: int
    key: str
    value: str = field(repr=False)
    forget_at: int | None = None
    """The time inside from which a store should drop the record."""


@dataclass(frozen=True)
class ChangePage:
    """A page of the feed."""

    changes: tuple[Change, ...]
    next: int
    """The `since` of the next page."""
    more: bool
    now: int
    """The time inside, to compare `forget_at` with."""


@dataclass(frozen=True)
class Config:
    """The limits of an instance. A field without a value keeps the default of the contract."""

    workspace_id: str | None = None
    default_ttl: int | None = None
    max_lifetime: int | None = None
    max_sessions: int | None = None
    max_sessions_per_agent: int | None = None
    agent_overflow: Overflow | None = None
    max_sessions_per_root: int | None = None
    max_depth: int | None = None
    rotation_grace: int | None = None
    idle_timeout: int | None = None
    guard_recheck_interval: int | None = None
    clock_tolerance: int | None = None
    event_capacity: int | None = None
    max_state_bytes: int | None = None
    state_key: bytes | None = field(default=None, repr=False)
    previous_state_keys: Sequence[bytes] = field(default=(), repr=False)


@dataclass(frozen=True)
class Statistics:
    """Current figures."""

    version: str
    now: int
    clock_lag: int
    clock_behind: bool
    live_sessions: int
    prunable_sessions: int
    creates_in_flight: int
    tracked_agents: int
    pending_revocations: int
    subscribers: int
    tombstones: int
    last_change: int
    state_bytes: int
    last_event: int
    event_run: int
    created: int
    refreshed: int
    rotated: int
    denied: int
    ended: int


Validated: TypeAlias = Session | SessionError
"""The result of `validate_many` for one token: the session, or the error of `validate`."""
