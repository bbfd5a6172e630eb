"""Defers the handlers of signals during a call in the main thread.

Python runs the handler of a signal in the main thread, between any two of its instructions. A
handler can raise, as that of Ctrl-C does. In the code with which wasmtime converts a value, this
would end the instance; in that of this package, a lock could stay locked.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final

Handler = Callable[[int, FrameType | None], object]

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2")
"""The signals whose handlers raise in practice. To look at all would take 40 us."""
_SIGNALS: Final = tuple(int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name))
_ACTION_BYTES: Final = 1_024
"""More than a `struct sigaction` has on any system."""


def _find_sigaction() -> Callable[[int, Any, Any], int] | None:
    """Returns the function of the C library, or `None` on a system that has none."""
    try:
        sigaction = ctypes.PyDLL(None).sigaction
    except (AttributeError, OSError, TypeError):
        return None
    sigaction.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
    return sigaction


_sigaction: Final = _find_sigaction()


def set_handler(number: int, handler: Handler) -> None:
    """Replaces the handler of a signal, which is a function in Python, by another one.

    `signal.signal` also undoes `signal.siginterrupt(number, False)`, which asyncio calls, and
    Python cannot read this setting. So the action of the signal is kept as it is: for the system,
    all handlers in Python are the same function.
    """
    if _sigaction is None:
        signal.signal(number, handler)
        return
    action = ctypes.create_string_buffer(_ACTION_BYTES)
    is_read = _sigaction(number, None, action) == 0
    try:
        signal.signal(number, handler)
    finally:
        if is_read:
            _sigaction(number, action, None)


class DeferredSignals:
    """Runs the handlers of signals at the end of a `with` statement, in the main thread.

    While `can_raise` returns true, handlers run at once.
    """

    def __init__(self, can_raise: Callable[[], bool]) -> None:
        self._can_raise = can_raise
        self._active = False
        self._replaced: list[tuple[int, Handler, Handler]] = []
        """Each signal, its handler, and the one that is in its place."""
        self._pending: dict[int, tuple[Handler, FrameType | None]] = {}

    def __enter__(self) -> DeferredSignals:
        # Handlers run in this thread only.
        if threading.get_ident() == threading.main_thread().ident:
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._replace(number, handler)
            self._active = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._active:
            try:
                for number, handler, replacement in self._replaced:
                    # The guard may have set another one.
                    if signal.getsignal(number) is replacement:
                        set_handler(number, handler)
            finally:
                # A replacement that stays, because a restored handler has raised, runs its
                # handler at once from now on.
                self._active = False
                self.deliver()

    def deliver(self) -> None:
        """Runs the handlers of the signals that have arrived. They can raise."""
        while self._pending:
            number, (handler, frame) = next(iter(self._pending.items()))
            del self._pending[number]
            try:
                handler(number, frame)
            finally:
                self.deliver()

    def _replace(self, number: int, handler: Handler) -> None:
        def replacement(number: int, frame: FrameType | None) -> object:
            if self._active and not self._can_raise():
                self._pending.setdefault(number, (handler, frame))
                return None
            return handler(number, frame)

        try:
            set_handler(number, replacement)
        except ValueError:
            # Only the main interpreter has handlers.
            return
        self._replaced.append((number, handler, replacement))
