"""Arguments that wasmtime would change, or refuse with an error of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, cast

import pytest

from clawdb_session import (
    Change,
    Component,
    Config,
    HmacGuard,
    InvalidArgument,
    Role,
    Root,
    Sessions,
)
from conftest import AGENT, NO_SESSION
from controls import ManualClock

LONE_SURROGATE = "secret\ud800"
U32 = 2**32
U64 = 2**64

Call = Callable[[Any, Any], object]
"""Passes a value to an operation."""

TEXTS: list[tuple[str, Call]] = [
    ("agent-id", lambda it, value: it.create(value, "worker")),
    ("role", lambda it, value: it.create(AGENT, value)),
    ("scopes", lambda it, value: it.create(AGENT, "worker", [value])),
    ("task-type", lambda it, value: it.create(AGENT, "worker", task_type=value)),
    ("metadata", lambda it, value: it.create(AGENT, "worker", metadata=value)),
    ("parent-session-id", lambda it, value: it.delegate(value, AGENT, "worker")),
    ("agent-id", lambda it, value: it.delegate(NO_SESSION, value, "worker")),
    ("token", lambda it, value: it.validate(value)),
    ("tokens", lambda it, value: it.validate_many([value])),
    ("token", lambda it, value: it.authorize(value, "scope")),
    ("scope", lambda it, value: it.authorize("token", value)),
    ("token", lambda it, value: it.rotate(value)),
    ("session-id", lambda it, value: it.touch(value)),
    ("session-id", lambda it, value: it.refresh(value)),
    ("session-id", lambda it, value: it.revoke(value)),
    ("token", lambda it, value: it.revoke_by_token(value)),
    ("agent-id", lambda it, value: it.revoke_all_for_agent(value)),
    ("role", lambda it, value: it.revoke_all(Role(value))),
    ("root", lambda it, value: it.revoke_all(Root(value))),
    ("session-id", lambda it, value: it.get(value)),
    ("agent-id", lambda it, value: it.list_for_agent(value)),
    ("agent-id", lambda it, value: it.create_session(value, "worker", [])),
    ("role", lambda it, value: it.create_session(AGENT, value, [])),
    ("scopes", lambda it, value: it.create_session(AGENT, "worker", [value])),
    ("task-type", lambda it, value: it.create_session(AGENT, "worker", [], value)),
    ("id", lambda it, value: it.get_session(value)),
    ("id", lambda it, value: it.invalidate(value)),
    ("key", lambda it, value: it.restore([Change(1, value, "{}")])),
    ("value", lambda it, value: it.restore([Change(1, "meta", value)])),
    ("workspace-id", lambda it, value: it.configure(Config(workspace_id=value))),
]

U32S: list[tuple[str, Call]] = [
    ("max-uses", lambda it, value: it.create(AGENT, "worker", max_uses=value)),
    ("limit", lambda it, value: it.list_for_agent(AGENT, limit=value)),
    ("limit", lambda it, value: it.prune_expired(value)),
    ("limit", lambda it, value: it.poll_events(0, value)),
    ("limit", lambda it, value: it.changes(0, value)),
    ("max-sessions", lambda it, value: it.configure(Config(max_sessions=value))),
    (
        "max-sessions-per-agent",
        lambda it, value: it.configure(Config(max_sessions_per_agent=value)),
    ),
    ("max-sessions-per-root", lambda it, value: it.configure(Config(max_sessions_per_root=value))),
    ("max-depth", lambda it, value: it.configure(Config(max_depth=value))),
    ("event-capacity", lambda it, value: it.configure(Config(event_capacity=value))),
]

U64S: list[tuple[str, Call]] = [
    ("expires-in", lambda it, value: it.create(AGENT, "worker", expires_in=value)),
    ("expires-in", lambda it, value: it.delegate(NO_SESSION, AGENT, "worker", expires_in=value)),
    ("cursor", lambda it, value: it.list_for_agent(AGENT, cursor=value)),
    ("since", lambda it, value: it.poll_events(value)),
    ("since", lambda it, value: it.changes(value)),
    ("stored", lambda it, value: it.flush_stored_revocations(value)),
    ("sequence", lambda it, value: it.restore([Change(value, "meta", "{}")])),
    ("forget-at", lambda it, value: it.restore([Change(1, "meta", "{}", value)])),
    ("default-ttl", lambda it, value: it.configure(Config(default_ttl=value))),
    ("max-lifetime", lambda it, value: it.configure(Config(max_lifetime=value))),
    ("rotation-grace", lambda it, value: it.configure(Config(rotation_grace=value))),
    ("idle-timeout", lambda it, value: it.configure(Config(idle_timeout=value))),
    (
        "guard-recheck-interval",
        lambda it, value: it.configure(Config(guard_recheck_interval=value)),
    ),
    ("clock-tolerance", lambda it, value: it.configure(Config(clock_tolerance=value))),
    ("max-state-bytes", lambda it, value: it.configure(Config(max_state_bytes=value))),
]

LISTS: list[tuple[str, Call]] = [
    ("scopes", lambda it, value: it.create(AGENT, "worker", value)),
    ("tokens", lambda it, value: it.validate_many(value)),
    ("changes", lambda it, value: it.restore(value)),
    ("previous-state-keys", lambda it, value: it.configure(Config(previous_state_keys=value))),
]


def refused(call: Call, sessions: Sessions, value: object) -> InvalidArgument:
    """Returns the error of a call with a value, which must not contain the value."""
    with pytest.raises(InvalidArgument) as error:
        call(sessions, value)
    assert isinstance(error.value, ValueError)
    # Not only the text: a logged traceback has the errors that this one was raised from.
    assert error.value.__cause__ is None and error.value.__context__ is None
    assert "secret" not in str(error.value)
    assert sessions.active_count() == 0
    return error.value


@pytest.mark.parametrize(("field", "call"), TEXTS)
def test_a_text_must_be_unicode_of_an_acceptable_size(
    sessions: Sessions, field: str, call: Call
) -> None:
    # All tokens of a `validate_many` together may have more.
    largest = 2**24 if field == "tokens" else 2**20
    for value in (LONE_SURROGATE, "t" * (largest + 1), 7, b"secret", ["secret"], object()):
        assert refused(call, sessions, value).field == field


@pytest.mark.parametrize(
    ("largest", "field", "call"),
    [
        *((U32, *row) for row in U32S),
        *((U64, *row) for row in U64S),
    ],
)
def test_a_number_must_fit_and_be_no_bool(
    sessions: Sessions, largest: int, field: str, call: Call
) -> None:
    for value in (-1, largest, largest + 1, 2**200, True, False, 1.0, "1"):
        assert refused(call, sessions, value).field == field


def test_the_largest_numbers_arrive_unchanged(sessions: Sessions) -> None:
    # wasmtime alone makes 1 of 2**32 + 1.
    grant = sessions.create(AGENT, "worker", max_uses=U32 - 1)
    assert grant.session.uses_left == U32 - 1
    sessions.revoke(grant.session.id)
    error = refused(U64S[0][1], sessions, U64 - 1)
    assert error.field == "expires-in" and "must be from 0 to" not in error.reason


@pytest.mark.parametrize(("field", "call"), LISTS)
def test_a_list_must_be_an_iterable_of_items(sessions: Sessions, field: str, call: Call) -> None:
    for value in ("secret", b"secret", 7, None, [None], [7]):
        assert refused(call, sessions, value).field == field


def test_lists_are_bounded_before_they_are_passed_on(sessions: Sessions) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "scope"

    assert refused(LISTS[0][1], sessions, endless()).field == "scopes"
    assert refused(LISTS[1][1], sessions, endless()).field == "tokens"
    changes = [Change(i, "meta", "v" * 2**20) for i in range(17)]
    assert refused(LISTS[2][1], sessions, changes).field == "changes"


def test_keys_must_be_bytes(sessions: Sessions) -> None:
    for value in ("secret" * 8, 7, [1] * 32):
        error = refused(lambda it, key: it.configure(Config(state_key=key)), sessions, value)
        assert error.field == "state-key"
    sessions.configure(Config(state_key=cast(bytes, bytearray(32))))


def test_records_and_filters_must_be_of_their_types(sessions: Sessions) -> None:
    assert refused(lambda it, value: it.configure(value), sessions, {}).field == "config"
    assert refused(lambda it, value: it.revoke_all(value), sessions, "everything").field == "filter"

    def set_overflow(it: Any, value: Any) -> object:
        return it.configure(Config(agent_overflow=value))

    assert refused(set_overflow, sessions, "refuse").field == "agent-overflow"


def test_subclasses_of_int_and_str_are_accepted_as_what_they_are(sessions: Sessions) -> None:
    class Uses(IntEnum):
        TWO = 2

    class Text(str):
        def encode(self, *_: object, **__: object) -> bytes:
            raise AssertionError

    grant = sessions.create(Text(AGENT), Text("worker"), [Text("a")], max_uses=Uses.TWO)
    assert grant.session.uses_left == 2
    assert type(grant.session.role) is str


def test_options_of_a_wrong_type_are_refused_at_the_start() -> None:
    make = cast(Any, Sessions)

    class Empty:
        pass

    class Waits:
        async def issue_session_token(self, request: object) -> None: ...

        async def validate_token(self, token: str) -> None: ...

        async def revoke_token(self, handle: str) -> None: ...

    guard = HmacGuard(bytes(32))
    cases: list[tuple[type[Exception], dict[str, object]]] = [
        (TypeError, {"guard": Empty()}),
        (TypeError, {"guard": Waits()}),
        (TypeError, {"guard": guard, "clock": 7}),
        # Seconds as a float, which would count as failed readings.
        (TypeError, {"guard": guard, "clock": time.time}),
        (TypeError, {"guard": guard, "entropy": b"7"}),
        (ValueError, {"guard": guard, "busy_after": 0}),
        (ValueError, {"guard": guard, "busy_after": float("nan")}),
        (ValueError, {"guard": guard, "busy_after": float("inf")}),
        (ValueError, {"guard": guard, "max_memory": -1}),
    ]
    for wrong, options in cases:
        with pytest.raises(wrong):
            make(**options)


@pytest.mark.parametrize("per_second", [1, 1_000, 1_000_000, 10**12])
def test_a_clock_in_another_unit_is_refused(per_second: int) -> None:
    with pytest.raises(ValueError, match="must return nanoseconds since 1970"):
        Sessions(HmacGuard(bytes(32)), clock=lambda: int(time.time() * per_second))


def test_a_clock_can_show_each_time_from_2020_to_9999(component: Component) -> None:
    first, last = 1_577_836_800 * 10**9, 253_402_300_800 * 10**9 - 1
    for now in (first, last):
        with Sessions(HmacGuard(bytes(32)), component=component, clock=ManualClock(now)):
            pass
    for now in (first - 1, last + 1):
        with pytest.raises(ValueError, match="2020 to 9999"):
            Sessions(HmacGuard(bytes(32)), component=component, clock=ManualClock(now))
