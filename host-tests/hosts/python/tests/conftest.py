"""What the tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from clawdb_session import Component, Guard, HmacGuard, Sessions
from controls import ControlledGuard, ManualClock

AGENT = "0a9e0000-0000-4000-8000-000000000001"
OTHER_AGENT = "0a9e0000-0000-4000-8000-000000000002"
NO_SESSION = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="session")
def component() -> Component:
    """Returns the component that the package contains, compiled once."""
    return Component()


@pytest.fixture
def clock() -> ManualClock:
    """Returns a clock that stands still."""
    return ManualClock()


@pytest.fixture
def guard(clock: ManualClock) -> ControlledGuard:
    """Returns a guard that the test controls."""
    return ControlledGuard(HmacGuard(bytes(32), clock=clock))


@pytest.fixture
def sessions(
    component: Component, guard: ControlledGuard, clock: ManualClock
) -> Iterator[Sessions]:
    """Returns an instance with the controlled guard and clock."""
    with Sessions(guard, component=component, clock=clock) as sessions:
        yield sessions


@pytest.fixture
def start(component: Component, clock: ManualClock) -> Iterator[Callable[[Guard], Sessions]]:
    """Returns a function that starts an instance with another guard."""
    started: list[Sessions] = []

    def start(guard: Guard) -> Sessions:
        started.append(Sessions(guard, component=component, clock=clock, busy_after=10))
        return started[-1]

    yield start
    for sessions in started:
        sessions.close()
