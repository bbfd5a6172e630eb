"""Calls from several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from clawdb_session import (
    Busy,
    Claims,
    Closed,
    Component,
    Guard,
    HmacGuard,
    InvalidToken,
    IssuedToken,
    IssueRequest,
    Sessions,
)
from conftest import AGENT

WAIT = 30


@dataclass
class Held:
    """A guard that holds each validation while `hold` is used."""

    inner: Guard = field(default_factory=lambda: HmacGuard(bytes(32)))
    entered: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def issue_session_token(self, request: IssueRequest, /) -> IssuedToken:
        return self.inner.issue_session_token(request)

    def validate_token(self, token: str, /) -> Claims:
        self.entered.set()
        assert self.released.wait(WAIT)
        return self.inner.validate_token(token)

    def revoke_token(self, handle: str, /) -> None:
        self.inner.revoke_token(handle)


@contextmanager
def validating(sessions: Sessions, guard: Held, token: str) -> Iterator[list[object]]:
    """Holds a `validate` in another thread. Its result is in the list at the end."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(sessions.validate(token)))
    thread.start()
    assert guard.entered.wait(WAIT)
    try:
        yield results
    finally:
        guard.released.set()
        thread.join(WAIT)
        assert not thread.is_alive()


def test_threads_share_an_instance(component: Component) -> None:
    with Sessions(HmacGuard(bytes(32)), component=component, busy_after=WAIT) as sessions:

        def work(number: int) -> int:
            agent = f"0a9e0000-0000-4000-8000-{number:012}"
            for _ in range(20):
                grant = sessions.create(agent, "worker", ["a"])
                assert sessions.validate(grant.token).agent_id == agent
                rotated = sessions.rotate(grant.token)
                assert sessions.authorize(rotated.token, "a").id == grant.session.id
                assert sessions.poll_events(0, 10).events
            return sessions.revoke_all_for_agent(agent)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [20] * 8
        stats = sessions.stats()
        assert (stats.created, stats.rotated, stats.ended) == (160, 160, 160)
        assert sessions.active_count() == 0


def test_instances_run_in_their_own_threads(component: Component) -> None:
    def work(number: int) -> int:
        with Sessions(HmacGuard(bytes([number] * 32)), component=component) as sessions:
            for _ in range(10):
                sessions.validate(sessions.create(AGENT, "worker").token)
            return sessions.active_count()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(16))) == [10] * 16


def test_a_call_that_waits_too_long_is_busy(component: Component) -> None:
    guard = Held()
    with Sessions(guard, component=component, busy_after=0.05) as sessions:
        grant = sessions.create(AGENT, "worker")
        with validating(sessions, guard, grant.token) as results:
            before = time.monotonic()
            with pytest.raises(Busy, match="^busy: calls before this one took longer than 0.05 s$"):
                sessions.revoke(grant.session.id)
            assert time.monotonic() - before >= 0.05
        # The call has not taken effect, and the other one has.
        assert results == [grant.session]
        assert sessions.active_count() == 1
        assert sessions.revoke(grant.session.id).guard_confirmed


def test_a_call_waits_for_the_one_before_it(component: Component) -> None:
    guard = Held()
    with Sessions(guard, component=component, busy_after=WAIT) as sessions:
        grant = sessions.create(AGENT, "worker")
        with validating(sessions, guard, grant.token) as results:
            threading.Timer(0.05, guard.released.set).start()
            assert sessions.revoke(grant.session.id).session_id == grant.session.id
        assert results == [grant.session]
        with pytest.raises(InvalidToken):
            sessions.validate(grant.token)


def test_a_guard_whose_thread_calls_the_instance_finds_it_busy(component: Component) -> None:
    class Delegating(Held):
        def validate_token(self, token: str, /) -> Claims:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(sessions.active_count).result()
            raise AssertionError

    with Sessions(Delegating(), component=component, busy_after=0.05) as sessions:
        grant = sessions.create(AGENT, "worker")
        with pytest.raises(Exception, match="the guard raised Busy"):
            sessions.validate(grant.token)
        assert sessions.active_count() == 1


def test_closing_does_not_disturb_a_call_in_another_thread(component: Component) -> None:
    guard = Held()
    sessions = Sessions(guard, component=component, busy_after=WAIT)
    grant = sessions.create(AGENT, "worker")
    with validating(sessions, guard, grant.token) as results:
        before = time.monotonic()
        sessions.close()
        assert time.monotonic() - before < WAIT / 2
        waiting: list[object] = []

        def call() -> None:
            try:
                sessions.active_count()
            except Closed as error:
                waiting.append(error)

        thread = threading.Thread(target=call)
        thread.start()
    thread.join(WAIT)
    assert results == [grant.session]
    assert len(waiting) == 1
    with pytest.raises(Closed):
        sessions.validate(grant.token)


def test_an_instance_can_be_closed_by_its_guard(component: Component) -> None:
    class Closing(Held):
        def validate_token(self, token: str, /) -> Claims:
            sessions.close()
            return self.inner.validate_token(token)

    sessions = Sessions(Closing(), component=component)
    grant = sessions.create(AGENT, "worker")
    assert sessions.validate(grant.token) == grant.session
    with pytest.raises(Closed):
        sessions.validate(grant.token)
