"""A clock and a random source that do anything: they never cost the instance its sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

import pytest

from clawdb_session import (
    Collision,
    Component,
    Duplicate,
    EntropyUnavailable,
    HmacGuard,
    Sessions,
)
from conftest import AGENT
from controls import SECOND, START, ControlledEntropy, ManualClock

KEY = bytes(32)
EARLY = 1_577_836_799 * SECOND
"""The last second of 2019."""
LATE = 253_402_300_800 * SECOND
"""The first second of the year 10000."""
UNUSABLE = [None, "now", 1.5, True, -1, -(2**70), 0, EARLY, LATE, 2**64 * SECOND, 2**200, b""]


class Replaceable:
    """A function that a test replaces."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def fails(*_: object) -> NoReturn:
    raise OSError


def fails_badly(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "reading",
    [fails, *(lambda it=it: it for it in UNUSABLE)],
)
def test_a_clock_that_fails_is_ignored(component: Component, reading: Callable[[], Any]) -> None:
    clock = Replaceable(ManualClock(START))
    guard = HmacGuard(KEY, clock=ManualClock(START))
    with Sessions(guard, component=component, clock=clock) as sessions:
        grant = sessions.create(AGENT, "worker", expires_in=60)
        clock.function = reading
        assert sessions.validate(grant.token) == grant.session
        assert sessions.create(AGENT, "worker").session.created_at == START // 1_000_000
        assert sessions.stats().now == START // 1_000_000
        clock.function = ManualClock(START + 61 * SECOND)
        assert sessions.active_count() == 1


def test_nanoseconds_are_passed_on(component: Component) -> None:
    clock = ManualClock(START + 999_999_999)
    with Sessions(HmacGuard(KEY, clock=clock), component=component, clock=clock) as sessions:
        assert sessions.stats().now == START // 1_000_000 + 999


def test_a_clock_that_fails_at_the_start_is_accepted(component: Component) -> None:
    clock = Replaceable(fails)
    guard = HmacGuard(KEY, clock=ManualClock(START))
    with Sessions(guard, component=component, clock=clock) as sessions:
        clock.function = ManualClock(START)
        assert sessions.create(AGENT, "worker").session.created_at == START // 1_000_000


def test_an_interrupt_in_the_clock_leaves_the_call(component: Component) -> None:
    clock = Replaceable(ManualClock(START))
    guard = HmacGuard(KEY, clock=ManualClock(START))
    with Sessions(guard, component=component, clock=clock) as sessions:
        grant = sessions.create(AGENT, "worker")
        clock.function = fails_badly
        with pytest.raises(KeyboardInterrupt):
            sessions.validate(grant.token)
        clock.function = ManualClock(START)
        assert sessions.validate(grant.token) == grant.session


def test_a_clock_that_calls_the_instance_is_a_failed_reading(component: Component) -> None:
    clock = Replaceable(ManualClock(START))
    guard = HmacGuard(KEY, clock=ManualClock(START))
    with Sessions(guard, component=component, clock=clock) as sessions:
        grant = sessions.create(AGENT, "worker")
        clock.function = lambda: sessions.stats().now
        assert sessions.validate(grant.token) == grant.session


@pytest.mark.parametrize(
    "given", [fails, *(lambda _, it=it: it for it in (None, "bytes", 7, [1] * 16, b""))]
)
def test_without_random_bytes_no_session_is_created(
    component: Component, given: Callable[[int], Any]
) -> None:
    entropy = Replaceable(ControlledEntropy())
    with Sessions(HmacGuard(KEY), component=component, entropy=entropy) as sessions:
        grant = sessions.create(AGENT, "worker")
        entropy.function = given
        with pytest.raises(EntropyUnavailable):
            sessions.create(AGENT, "worker")
        assert sessions.validate(grant.token) == grant.session
        entropy.function = ControlledEntropy()
        sessions.create(AGENT, "worker")


def test_random_bytes_can_come_in_any_portions(component: Component) -> None:
    source = ControlledEntropy()
    for give in (lambda count: source(1), lambda count: source(count + 10_000)):
        entropy = cast(Callable[[int], bytes], give)
        with Sessions(HmacGuard(KEY), component=component, entropy=entropy) as sessions:
            grants = [sessions.create(AGENT, "worker") for _ in range(2)]
            assert sessions.validate(grants[1].token) == grants[1].session


def test_a_random_source_that_repeats_itself_is_a_collision(component: Component) -> None:
    entropy = ControlledEntropy(repeats=True)
    with Sessions(HmacGuard(KEY), component=component, entropy=entropy) as sessions:
        sessions.create(AGENT, "worker")
        with pytest.raises(Collision) as collision:
            sessions.create(AGENT, "worker")
        assert collision.value.duplicate is Duplicate.SESSION_ID
        assert str(collision.value) == "collision: session-id"
