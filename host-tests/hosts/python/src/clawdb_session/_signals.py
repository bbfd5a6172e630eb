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
        self._replacements: list[_Replacement] = []
        self._pending: dict[int, tuple[Handler, FrameType | None]] = {}

    def __enter__(self) -> DeferredSignals:
        # Handlers run in this thread only.
        if threading.get_ident() == threading.main_thread().ident:
            self._active = True
            try:
                for number in _SIGNALS:
                    self._replace(number)
            except BaseException:
                # The handler of a signal that was not replaced yet has raised.
                self._end()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._active:
            self._end()

    def deliver(self) -> None:
        """Runs the handlers of the signals that have arrived. They can raise."""
        while self._pending:
            number, (handler, frame) = next(iter(self._pending.items()))
            del self._pending[number]
            try:
                handler(number, frame)
            finally:
                self.deliver()

    def handle(self, number: int, frame: FrameType | None, handler: Handler) -> object:
        """Runs the handler of a signal that arrives, now or at the end."""
        if self._active and not self._can_raise():
            self._pending.setdefault(number, (handler, frame))
            return None
        return handler(number, frame)

    def _replace(self, number: int) -> None:
        handler = signal.getsignal(number)
        # Left by a `with` statement whose end was interrupted.
        while isinstance(handler, _Replacement) and not handler.owner._active:
            handler = handler.handler
        if not callable(handler):
            return
        replacement = _Replacement(self, number, handler)
        self._replacements.append(replacement)
        try:
            set_handler(number, replacement)
        except ValueError:
            # Only the main interpreter has handlers.
            pass

    def _end(self) -> None:
        try:
            self._restore(self._replacements)
        finally:
            # A replacement that stays runs its handler at once from now on.
            self._active = False
            self.deliver()

    def _restore(self, replacements: list[_Replacement]) -> None:
        """Sets the replaced handlers again, the others even if a restored one raises."""
        if replacements:
            try:
                replacements[0].restore()
            finally:
                self._restore(replacements[1:])


class _Replacement:
    """The handler of a signal during a `with` statement."""

    def __init__(self, owner: DeferredSignals, number: int, handler: Handler) -> None:
        self.owner = owner
        self.number = number
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> object:
        return self.owner.handle(number, frame, self.handler)

    def restore(self) -> None:
        """Sets the handler again, unless the guard has set another one."""
        current: object = signal.getsignal(self.number)
        if current is self:
            set_handler(self.number, self.handler)
