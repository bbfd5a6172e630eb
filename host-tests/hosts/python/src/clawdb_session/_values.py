"""Converts between the values of wasmtime and those of this package.

wasmtime gives a record as a `Record`, whose attributes have the names of the contract, with
hyphens. An enum is a `str`, and `list<u8>` is `bytes`. A case of a variant or a result is a bare
value (`None` without a payload) if the cases have different types; otherwise it is a `Variant`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, TypeVar

from wasmtime.component import Record, Variant

from . import errors, guard
from .errors import SessionError
from .guard import GuardError, IssueRequest
from .model import (
    Change,
    ChangePage,
    Denial,
    EndReason,
    Event,
    EventKind,
    EventPage,
    FlushReport,
    Grant,
    Revocation,
    Session,
    SessionPage,
    Statistics,
)

T = TypeVar("T")


def record(**members: object) -> Record:
    """Returns a record with these members, whose names get hyphens."""
    made = Record()
    for name, value in members.items():
        setattr(made, name.replace("_", "-"), value)
    return made


def _reader(cls: type[T], **conversions: Callable[[Any], Any]) -> Callable[[Record], T]:
    """Returns a function that makes a value of a dataclass from a record with its fields."""
    # The annotations of a dataclass are texts, so the conversions are given by name.
    members = [
        (member.name, member.name.replace("_", "-"), conversions.get(member.name))
        for member in fields(cls)  # type: ignore[arg-type]
    ]

    def read(read_from: Record) -> T:
        values = vars(read_from)
        return cls(
            **{
                name: values[wit] if convert is None else convert(values[wit])
                for name, wit, convert in members
            }
        )

    return read


def _each(convert: Callable[[Record], T]) -> Callable[[list[Record]], tuple[T, ...]]:
    return lambda items: tuple(map(convert, items))


def _optional(convert: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else convert(value)


_GUARD_ERRORS: Final[dict[str, type[GuardError]]] = {
    case.kind: case
    for case in (
        guard.GuardInvalidToken,
        guard.GuardExpired,
        guard.GuardRevoked,
        guard.GuardDenied,
        guard.GuardUnavailable,
    )
}


def guard_error(error: Variant) -> GuardError:
    """Returns an error of the guard that the component has passed on."""
    case = _GUARD_ERRORS[error.tag]
    return case() if error.payload is None else case(error.payload)


def guard_error_variant(error: GuardError) -> Variant | None:
    """Returns an error of the guard for the component; `None` if it is no case of the contract."""
    for kind, case in _GUARD_ERRORS.items():
        if isinstance(error, case):
            return Variant(kind, error.reason)
    return None


_SESSION_ERRORS: Final[dict[str, Callable[[Any], SessionError]]] = {
    "invalid-argument": lambda it: errors.InvalidArgument(it.field, it.reason),
    "invalid-token": lambda _: errors.InvalidToken(),
    "session-not-found": lambda _: errors.SessionNotFound(),
    "session-expired": lambda _: errors.SessionExpired(),
    "session-revoked": lambda _: errors.SessionRevoked(),
    "conflict": lambda _: errors.Conflict(),
    "limit-reached": lambda it: errors.LimitReached(errors.Limit(it)),
    "scope-denied": lambda it: errors.ScopeDenied(it),
    "guard": lambda it: errors.GuardRefused(guard_error(it)),
    "already-configured": lambda _: errors.AlreadyConfigured(),
    "already-started": lambda _: errors.AlreadyStarted(),
    "no-state-key": lambda _: errors.NoStateKey(),
    "refused-record": lambda it: errors.RefusedRecord(it.key, it.reason),
    "collision": lambda it: errors.Collision(errors.Duplicate(it)),
    "entropy-unavailable": lambda _: errors.EntropyUnavailable(),
    "clock-behind": lambda it: errors.ClockBehind(it),
    "clock-not-behind": lambda _: errors.ClockNotBehind(),
}


def session_error(error: Variant) -> SessionError:
    """Returns the error of an operation."""
    return _SESSION_ERRORS[error.tag](error.payload)


session: Final = _reader(Session, scopes=tuple)
grant: Final = _reader(Grant, session=session)
revocation: Final = _reader(Revocation, guard_error=_optional(guard_error))
flush_report: Final = _reader(FlushReport)
session_page: Final = _reader(SessionPage, sessions=_each(session))
change: Final = _reader(Change)
change_page: Final = _reader(ChangePage, changes=_each(change))
statistics: Final = _reader(Statistics)
issue_request: Final = _reader(IssueRequest, scopes=tuple)

_REASONS: Final[dict[EventKind, type[EndReason] | type[Denial]]] = {
    EventKind.ENDED: EndReason,
    EventKind.DENIED: Denial,
}


def event(read_from: Record) -> Event:
    """Returns an event."""
    values = dict(vars(read_from))
    kind = EventKind(values["kind"].tag)
    reason = values.pop("kind").payload
    return Event(
        kind=kind,
        reason=_REASONS[kind](reason) if kind in _REASONS else None,
        **{name.replace("-", "_"): value for name, value in values.items()},
    )


event_page: Final = _reader(EventPage, events=_each(event))


def validated(result: Record | Variant) -> Session | SessionError:
    """Returns the result of `validate-many` for one token."""
    return session_error(result) if isinstance(result, Variant) else session(result)
