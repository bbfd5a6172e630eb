"""The end of an instance, and its memory."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from clawdb_session import (
    Closed,
    Component,
    GuardBroken,
    HmacGuard,
    HostError,
    Sessions,
    StartError,
    Trapped,
)
from clawdb_session._instance import FUNCTIONS
from conftest import AGENT
from controls import ControlledGuard

KEY = bytes(32)


def test_a_closed_instance_answers_no_call(component: Component) -> None:
    with Sessions(HmacGuard(KEY), component=component) as sessions:
        assert sessions.ended is None
        sessions.create(AGENT, "worker")
    sessions.close()
    assert isinstance(sessions.ended, Closed)
    for _ in range(2):
        with pytest.raises(Closed, match="^the instance is closed$") as closed:
            sessions.active_count()
        assert isinstance(closed.value, HostError)
        assert closed.value.kind == "closed"


def test_a_trap_is_reported_by_each_later_call(component: Component) -> None:
    guard = ControlledGuard(HmacGuard(KEY))
    sessions = Sessions(guard, component=component)
    grant = sessions.create(AGENT, "worker")
    guard.set_mode("trap")
    with pytest.raises(Trapped) as trapped:
        sessions.validate(grant.token)
    assert trapped.value.kind == "trap"
    for _ in range(2):
        with pytest.raises(Trapped) as again:
            sessions.stats()
        assert again.value.reason == trapped.value.reason
    sessions.close()
    assert isinstance(sessions.ended, Trapped)


def test_an_instance_that_needs_more_memory_traps(component: Component) -> None:
    with Sessions(HmacGuard(KEY), component=component, max_memory=4 << 20) as sessions:
        with pytest.raises(Trapped):
            for _ in range(10_000):
                sessions.create(AGENT, "worker", metadata=f'"{"m" * 10_000}"')
        with pytest.raises(Trapped):
            sessions.active_count()


def test_an_instance_that_gets_too_little_memory_does_not_start(component: Component) -> None:
    with pytest.raises(StartError, match="could not be started"):
        Sessions(HmacGuard(KEY), component=component, max_memory=0)


def test_the_instance_and_the_guard_are_freed(component: Component) -> None:
    def used() -> tuple[weakref.ref[object], weakref.ref[object]]:
        guard = HmacGuard(KEY)
        sessions = Sessions(guard, component=component)
        sessions.validate(sessions.create(AGENT, "worker").token)
        return weakref.ref(guard), weakref.ref(sessions)

    def closed() -> weakref.ref[object]:
        guard = HmacGuard(KEY)
        with Sessions(guard, component=component):
            return weakref.ref(guard)

    for ref in (*used(), closed()):
        gc.collect()
        assert ref() is None


def addresses() -> int:
    """Returns how many bytes of addresses this process has reserved."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


RESERVED = 4 << 30
"""The addresses that wasmtime reserves for the memory of an instance."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/statm")
def test_a_closed_instance_has_no_memory_even_if_it_is_referred_to(component: Component) -> None:
    before = addresses()
    sessions = Sessions(HmacGuard(KEY), component=component)
    assert addresses() - before >= RESERVED
    sessions.close()
    assert addresses() - before < RESERVED / 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/statm")
def test_an_instance_that_trapped_has_no_memory(component: Component) -> None:
    before = addresses()
    guard = ControlledGuard(HmacGuard(KEY))
    sessions = Sessions(guard, component=component)
    guard.set_mode("trap")
    with pytest.raises(Trapped):
        sessions.create(AGENT, "worker")
    assert addresses() - before < RESERVED / 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/statm")
def test_a_start_that_fails_leaves_no_memory(
    component: Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FUNCTIONS, "settings", (*FUNCTIONS["settings"], "other"))
    before = addresses()
    with pytest.raises(StartError, match="has no other: it is of another world") as error:
        Sessions(HmacGuard(KEY), component=component)
    # The traceback refers to the instance.
    assert error.value.__traceback__ is not None
    assert addresses() - before < RESERVED / 2


def test_many_instances_do_not_add_up(component: Component) -> None:
    # wasmtime reserves 4 GiB of addresses for each.
    guard = ControlledGuard(HmacGuard(KEY))
    for _ in range(800):
        sessions = Sessions(guard, component=component)
        sessions.close()
    with Sessions(guard, component=component) as sessions:
        assert sessions.active_count() == 0


def test_the_interpreter_ends_with_an_open_instance() -> None:
    program = (
        "from clawdb_session import *\n"
        "sessions = Sessions(HmacGuard(bytes(32)))\n"
        f"sessions.create({AGENT!r}, 'worker')\n"
    )
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_broken_guard_in_one_instance_leaves_the_others(component: Component) -> None:
    broken, working = (ControlledGuard(HmacGuard(KEY)) for _ in range(2))
    with (
        Sessions(broken, component=component) as one,
        Sessions(working, component=component) as other,
    ):
        token = other.create(AGENT, "worker").token
        broken.set_mode("trap")
        with pytest.raises(Trapped):
            one.create(AGENT, "worker")
        assert other.validate(token).agent_id == AGENT
    assert issubclass(GuardBroken, Exception)
