"""Conversations with the component, as `exec --controls` holds them: a line and its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

from clawdb_session import (
    CallError,
    Change,
    Component,
    Config,
    Event,
    Everything,
    GuardError,
    HmacGuard,
    HostError,
    Overflow,
    RevokeFilter,
    Role,
    Root,
    Sessions,
    Trapped,
    Validated,
    to_datetime,
)
from controls import FUNCTIONS, ControlledEntropy, ControlledGuard, ManualClock

Json = Any
Fields = dict[str, Json]

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TIMES = {"created_at", "expires_at", "time", "now", "forget_at"}
RUNS = {"run", "event_run"}
PAYLOADS = {
    "invalid-argument": ("field", "reason"),
    "limit-reached": ("which",),
    "scope-denied": ("scope",),
    "guard": ("error",),
    "refused-record": ("key", "reason"),
    "collision": ("which",),
    "clock-behind": ("lag",),
}
"""The names of the members of an error, in the order of the exception's arguments."""
OPTIONAL_REQUEST = ("scopes", "task-type", "expires-in", "metadata", "max-uses")


class Conversation:
    """A conversation with an instance that has a controlled guard, clock and random source."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.clock = ManualClock()
        self.entropy = ControlledEntropy()
        self.guard = ControlledGuard(HmacGuard(bytes([1] * 32), clock=self.clock))
        self.subscriptions: dict[str, int] = {}
        """The sequence number of the last event that was read, by name."""
        self.sessions = self._start()

    def close(self) -> None:
        """Ends the instance."""
        self.sessions.close()

    def answer(self, line: Fields) -> Json:
        """Returns the answer to a line. A line that it cannot read is a fault of the test."""
        unread = {name: value for name, value in line.items() if value is not None}
        op = unread.pop("op")
        try:
            answer = {"ok": to_json(self._operations()[op](unread))}
        except CallError as error:
            answer = {"err": to_json(error)}
        assert not unread, f"{op} has unknown fields: {unread}"
        return answer

    def _start(self) -> Sessions:
        return Sessions(
            self.guard, component=self.component, clock=self.clock, entropy=self.entropy
        )

    def _operations(self) -> dict[str, Callable[[Fields], object]]:
        it = self.sessions
        return {
            "create": lambda line: it.create(**request(line)),
            "delegate": lambda line: it.delegate(
                line.pop("parent-session-id"), **whole(request, line.pop("request"))
            ),
            "validate": lambda line: it.validate(line.pop("token")),
            "validate-many": lambda line: list(map(result, it.validate_many(line.pop("tokens")))),
            "authorize": lambda line: it.authorize(line.pop("token"), line.pop("scope")),
            "rotate": lambda line: it.rotate(line.pop("token")),
            "touch": lambda line: it.touch(line.pop("session-id")),
            "refresh": lambda line: it.refresh(line.pop("session-id")),
            "revoke": lambda line: it.revoke(line.pop("session-id")),
            "revoke-by-token": lambda line: it.revoke_by_token(line.pop("token")),
            "revoke-all-for-agent": lambda line: it.revoke_all_for_agent(line.pop("agent-id")),
            "revoke-all": lambda line: it.revoke_all(revoke_filter(line.pop("filter"))),
            "flush-guard-revocations": lambda line: it.flush_guard_revocations(),
            "get": lambda line: it.get(line.pop("session-id")),
            "list-for-agent": lambda line: it.list_for_agent(
                line.pop("agent-id"), **whole(page, line.pop("page", {}))
            ),
            "active-count": lambda line: it.active_count(),
            "prune-expired": lambda line: it.prune_expired(line.pop("limit", None)),
            "create-session": lambda line: it.create_session(
                line.pop("agent-id"),
                line.pop("role"),
                line.pop("scopes", ()),
                line.pop("task-type", None),
            ),
            "get-session": lambda line: it.get_session(pop_id(line)),
            "invalidate": lambda line: it.invalidate(pop_id(line)),
            "poll-events": lambda line: it.poll_events(line.pop("since"), line.pop("limit")),
            "changes": lambda line: it.changes(line.pop("since"), line.pop("limit")),
            "restore": lambda line: it.restore(
                [whole(change, item) for item in line.pop("changes")]
            ),
            "close-event-run": lambda line: it.close_event_run(),
            "flush-stored-revocations": lambda line: it.flush_stored_revocations(
                line.pop("stored")
            ),
            "configure": lambda line: it.configure(config(line)),
            "accept-clock": lambda line: it.accept_clock(),
            "stats": lambda line: it.stats(),
            "subscribe": self._subscribe,
            "read": self._read,
            "unsubscribe": lambda line: drop(self.subscriptions.pop(line.pop("name"))),
            "restart": lambda line: self._restart(),
            "clock": self._control_clock,
            "guard": self._control_guard,
            "entropy": self._control_entropy,
        }

    def _subscribe(self, line: Fields) -> None:
        name, since = line.pop("name"), line.pop("since")
        assert name not in self.subscriptions
        # A number after the newest event counts as that of the newest one.
        newest = self.sessions.stats().last_event
        self.subscriptions[name] = min(since, newest)

    def _read(self, line: Fields) -> list[Json]:
        name, limit = line.pop("name"), line.pop("limit", 1_000)
        page = self.sessions.poll_events(self.subscriptions[name], limit)
        self.subscriptions[name] = page.next
        events = to_json(page.events)
        if events and page.missed:
            events[0]["missed"] = page.missed
        assert isinstance(events, list)
        return events

    def _restart(self) -> None:
        self.sessions.close()
        self.subscriptions.clear()
        self.sessions = self._start()

    def _control_clock(self, line: Fields) -> None:
        if "advance" in line:
            self.clock.advance(line.pop("advance"))
        else:
            time = datetime.fromisoformat(line.pop("set").replace("Z", "+00:00"))
            self.clock.now = (time - EPOCH) // timedelta(microseconds=1) * 1_000

    def _control_guard(self, line: Fields) -> Json:
        if "mode" in line:
            self.guard.set_mode(line.pop("mode"), line.pop("on", "all"))
        if not line.pop("calls", False):
            return None
        batches = {
            "validate-tokens": self.guard.validate_batches,
            "revoke-tokens": self.guard.revoke_batches,
        }
        return {**{it: self.guard.calls[it] for it in FUNCTIONS}, **batches}

    def _control_entropy(self, line: Fields) -> None:
        self.entropy.repeats = {"ok": False, "repeat": True}[line.pop("mode")]


def whole(read: Callable[[Fields], Any], line: Fields) -> Any:
    """Reads an object and checks that nothing is left of it."""
    unread = {name: value for name, value in line.items() if value is not None}
    value = read(unread)
    assert not unread, f"unknown fields: {unread}"
    return value


def request(line: Fields) -> dict[str, Any]:
    """Reads the arguments of `create`."""
    read = {"agent_id": line.pop("agent-id"), "role": line.pop("role")}
    for name in OPTIONAL_REQUEST:
        if name in line:
            read[name.replace("-", "_")] = line.pop(name)
    return read


def page(line: Fields) -> dict[str, Any]:
    """Reads the page of `list-for-agent`."""
    return {"cursor": line.pop("cursor", None), "limit": line.pop("limit", None)}


def revoke_filter(filter: Json) -> RevokeFilter:
    """Reads the filter of `revoke-all`."""
    if filter == "everything":
        return Everything()
    ((kind, value),) = filter.items()
    filters: dict[str, Callable[[str], RevokeFilter]] = {"role": Role, "root": Root}
    return filters[kind](value)


def change(line: Fields) -> Change:
    """Reads a record. It contains its `forget-at` itself."""
    line.pop("forget-at", None)
    return Change(line.pop("sequence"), line.pop("key"), line.pop("value"))


def config(line: Fields) -> Config:
    """Reads the configuration."""
    read = {name.replace("-", "_"): line.pop(name) for name in list(line)}
    if "agent_overflow" in read:
        read["agent_overflow"] = Overflow(read["agent_overflow"])
    if "state_key" in read:
        read["state_key"] = bytes.fromhex(read["state_key"])
    if "previous_state_keys" in read:
        read["previous_state_keys"] = list(map(bytes.fromhex, read["previous_state_keys"]))
    return Config(**read)


def pop_id(line: Fields) -> str:
    """Reads the id of a legacy operation, which has either name."""
    id = line.pop("session-id") if "session-id" in line else line.pop("id")
    assert isinstance(id, str)
    return id


def result(validated: Validated) -> Json:
    """Returns the result of `validate-many` for one token as JSON."""
    return {"err" if isinstance(validated, CallError) else "ok": to_json(validated)}


def drop(_: object) -> None:
    """Returns nothing."""


def rfc3339(time: int) -> str:
    """Returns a time in milliseconds in the format of RFC 3339."""
    precision = "milliseconds" if time % 1_000 else "seconds"
    return to_datetime(time).isoformat(timespec=precision).replace("+00:00", "Z")


def to_json(value: object) -> Json:
    """Returns a value of the package as JSON."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, GuardError):
        reason = {} if value.reason is None else {"reason": value.reason}
        return {"kind": value.kind, **reason}
    if isinstance(value, HostError):
        reason = {"reason": str(value)} if isinstance(value, Trapped) else {}
        return {"kind": value.kind, **reason}
    if isinstance(value, CallError):
        names = PAYLOADS.get(value.kind, ())
        assert len(names) == len(value.args)
        return {"kind": value.kind, **dict(zip(names, map(to_json, value.args)))}
    assert is_dataclass(value), value
    members = {member.name: getattr(value, member.name) for member in fields(value)}
    if isinstance(value, Event) and value.reason is None:
        del members["reason"]
    return {name.replace("_", "-"): member(name, it) for name, it in members.items()}


def member(name: str, value: Any) -> Json:
    """Returns a member of a record as JSON."""
    if value is not None and name in TIMES:
        return rfc3339(value)
    if name in RUNS:
        return f"{value:016x}"
    return to_json(value)
