"""Handlers of signals that raise during calls in the main thread, such as that of Ctrl-C."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from clawdb_session import (
    Claims,
    Component,
    GuardRefused,
    HmacGuard,
    IssuedToken,
    IssueRequest,
    Sessions,
)
from clawdb_session import _signals
from clawdb_session._signals import DeferredSignals
from conftest import AGENT

NUMBERS = [signal.SIGUSR1, signal.SIGUSR2]
WAIT = 30


class Held(HmacGuard):
    """A guard that sleeps in each validation while `holds` is set."""

    holds = False

    def validate_token(self, token: str, /) -> Claims:
        if self.holds:
            time.sleep(WAIT)
        return super().validate_token(token)


class Fast:
    """A guard that takes almost no time, so that a signal arrives elsewhere."""

    expires_at = 0

    def issue_session_token(self, request: IssueRequest, /) -> IssuedToken:
        self.expires_at = request.expires_at
        return IssuedToken("token", "handle", request.expires_at)

    def validate_token(self, token: str, /) -> Claims:
        return Claims("handle", self.expires_at)

    def revoke_token(self, handle: str, /) -> None:
        pass


@contextmanager
def interrupting(number: int, every: float, times: int) -> Iterator[threading.Event]:
    """Sends a signal to this process several times. Sets the event at the end."""
    done = threading.Event()

    def send() -> None:
        for _ in range(times):
            time.sleep(every)
            os.kill(os.getpid(), number)
        # So that the last one arrives in the `with` statement.
        time.sleep(0.05)
        done.set()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield done
    finally:
        thread.join()


def callers(frame: FrameType | None) -> Iterator[str]:
    """Returns the names of the functions that run, the innermost first."""
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


@pytest.fixture(params=[KeyboardInterrupt, TimeoutError])
def raised(request: pytest.FixtureRequest) -> Iterator[type[BaseException]]:
    """Returns the exception that the handler of SIGINT raises, in an operation."""
    error: type[BaseException] = request.param

    def handler(number: int, frame: FrameType | None) -> None:
        names = set(callers(frame))
        # Python only reports an exception while it frees an object.
        if names & {"validate", "active_count"} and "__del__" not in names:
            raise error

    before = signal.signal(signal.SIGINT, handler)
    yield error
    signal.signal(signal.SIGINT, before)


def test_a_handler_that_raises_never_ends_the_instance(
    component: Component, raised: type[BaseException]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    interrupted = calls = 0
    with Sessions(Fast(), component=component) as sessions:
        session = sessions.create(AGENT, "worker").session
        with interrupting(signal.SIGINT, every=0.0021, times=300) as done:
            while True:
                try:
                    while not done.is_set():
                        assert sessions.validate("token") == session
                        calls += 1
                    break
                except (raised, GuardRefused):
                    interrupted += 1
        assert signal.getsignal(signal.SIGINT) is handler
        assert sessions.validate("token") == session
    assert interrupted > 100 and calls > 100


def test_a_guard_that_hangs_can_be_interrupted(
    component: Component, raised: type[BaseException]
) -> None:
    guard = Held(bytes(32))
    with Sessions(guard, component=component) as sessions:
        grant = sessions.create(AGENT, "worker")
        guard.holds = True
        before = time.monotonic()
        # An error counts as one of the guard.
        expected = GuardRefused if issubclass(raised, Exception) else raised
        with interrupting(signal.SIGINT, every=0.2, times=1), pytest.raises(expected):
            sessions.validate(grant.token)
        assert time.monotonic() - before < WAIT / 2
        guard.holds = False
        assert sessions.validate(grant.token) == grant.session


def test_a_call_that_waits_for_another_one_can_be_interrupted(
    component: Component, raised: type[BaseException]
) -> None:
    entered, released = threading.Event(), threading.Event()

    class Waiting(HmacGuard):
        def validate_token(self, token: str, /) -> Claims:
            entered.set()
            released.wait(WAIT)
            return super().validate_token(token)

    with Sessions(Waiting(bytes(32)), component=component, busy_after=WAIT) as sessions:
        grant = sessions.create(AGENT, "worker")
        thread = threading.Thread(target=sessions.validate, args=[grant.token])
        thread.start()
        assert entered.wait(WAIT)
        before = time.monotonic()
        with interrupting(signal.SIGINT, every=0.2, times=1), pytest.raises(raised):
            sessions.active_count()
        assert time.monotonic() - before < WAIT / 2
        released.set()
        thread.join()
        assert sessions.active_count() == 1


def test_a_handler_can_call_the_instance(component: Component) -> None:
    counts: list[int] = []
    with Sessions(Fast(), component=component) as sessions:
        sessions.create(AGENT, "worker")
        # In a function of the guard, the call would raise `Reentrant`.
        sessions._imports.is_in_guard = lambda: False  # type: ignore[method-assign]

        def handler(number: int, frame: object) -> None:
            counts.append(sessions.active_count())

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            with interrupting(signal.SIGUSR1, every=0.005, times=20) as done:
                while not done.is_set():
                    sessions.validate("token")
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert counts and set(counts) == {1}


def test_a_handler_that_the_guard_sets_stays(component: Component) -> None:
    def handler(number: int, frame: object) -> None:
        pass

    class Setting(Fast):
        def validate_token(self, token: str, /) -> Claims:
            signal.signal(signal.SIGINT, handler)
            return super().validate_token(token)

    before = signal.getsignal(signal.SIGINT)
    try:
        with Sessions(Setting(), component=component) as sessions:
            sessions.create(AGENT, "worker")
            assert signal.getsignal(signal.SIGINT) is before
            sessions.validate("token")
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def is_interrupted(number: int) -> bool:
    """Returns whether a signal interrupts a system call, which Python itself would repeat."""
    reader, writer = os.pipe()
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        time.sleep(0.05)
        signal.pthread_kill(main, number)
        time.sleep(0.05)
        os.write(writer, b"b")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        received = ctypes.CDLL(None).read(reader, ctypes.create_string_buffer(1), 1)
    finally:
        thread.join()
        os.close(reader)
        os.close(writer)
    assert received in (1, -1)
    return bool(received == -1)


@pytest.mark.parametrize("interrupts", [True, False])
def test_a_call_keeps_whether_a_signal_interrupts_system_calls(
    component: Component, interrupts: bool
) -> None:
    seen: list[bool] = []

    class Reading(Fast):
        def validate_token(self, token: str, /) -> Claims:
            seen.append(is_interrupted(signal.SIGUSR1))
            return super().validate_token(token)

    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        signal.siginterrupt(signal.SIGUSR1, interrupts)
        with Sessions(Reading(), component=component) as sessions:
            sessions.create(AGENT, "worker")
            sessions.validate("token")
        assert seen == [interrupts]
        assert is_interrupted(signal.SIGUSR1) == interrupts
    finally:
        signal.signal(signal.SIGUSR1, before)


class Raising:
    """A handler that raises, and keeps the numbers of the signals."""

    def __init__(self) -> None:
        self.handled: list[int] = []

    def __call__(self, number: int, frame: object) -> None:
        self.handled.append(number)
        raise TimeoutError


@pytest.fixture
def raising() -> Iterator[Raising]:
    """Returns the handler of two signals. SIGINT has the handler of Python, even if the process was
    started with SIGINT ignored, as in the background of a script."""
    raising = Raising()
    before = [(number, signal.signal(number, raising)) for number in NUMBERS]
    before.append((signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)))
    yield raising
    for number, handler in before:
        signal.signal(number, handler)


def test_each_signal_that_arrived_is_handled_even_if_one_handler_raises(raising: Raising) -> None:
    with pytest.raises(TimeoutError), DeferredSignals(lambda: False):
        for number in NUMBERS * 2:
            signal.raise_signal(number)
        assert raising.handled == []
    assert raising.handled == NUMBERS
    assert [signal.getsignal(number) for number in NUMBERS] == [raising, raising]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("after", range(6))
def test_a_signal_that_arrives_between_two_replacements_leaves_all_handlers_in_place(
    raising: Raising, monkeypatch: pytest.MonkeyPatch, number: int, after: int
) -> None:
    set_handler = _signals.set_handler
    calls = iter(range(100))

    def set_handler_and_arrive(replaced: int, handler: _signals.Handler) -> None:
        set_handler(replaced, handler)
        if next(calls) == after:
            signal.raise_signal(number)

    monkeypatch.setattr(_signals, "set_handler", set_handler_and_arrive)
    with pytest.raises(TimeoutError), DeferredSignals(lambda: False):
        pass
    # The handlers of SIGINT and of the two signals were replaced, and restored.
    assert next(calls) > after
    assert raising.handled == [number]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert [signal.getsignal(one) for one in NUMBERS] == [raising, raising]


def test_a_replacement_that_was_left_is_removed_by_the_next_call(
    raising: Raising, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: DeferredSignals, replacements: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DeferredSignals, "_restore", interrupted)
        with pytest.raises(KeyboardInterrupt), DeferredSignals(lambda: False):
            pass
    with pytest.raises(TimeoutError):
        signal.raise_signal(signal.SIGUSR1)
    assert raising.handled == [signal.SIGUSR1]
    with DeferredSignals(lambda: False):
        pass
    assert [signal.getsignal(number) for number in NUMBERS] == [raising, raising]
