"""Clocks that a program passes, for the component and for a guard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Clock = Callable[[], int]
"""Returns the nanoseconds since 1970-01-01T00:00:00Z, as `time.time_ns` does."""

SECOND: Final = 1_000_000_000
_EARLIEST: Final = 1_577_836_800 * SECOND
"""2020-01-01T00:00:00Z. The component counts a time before it as a failed reading (R6)."""
_END: Final = 253_402_300_800 * SECOND
"""10000-01-01T00:00:00Z. The component counts this time and later ones as failed readings (R6)."""


def check_clock(clock: object) -> None:
    """Reads a clock once, and refuses it if it has another unit or type.

    The component would ignore each reading of such a clock, so no session would expire. A clock
    that raises is accepted, because it may fail for a while.

    Raises `TypeError`, or `ValueError` for a time outside the years 2020 to 9999.
    """
    if not callable(clock):
        raise TypeError("clock must be a function, such as time.time_ns")
    try:
        now: object = clock()
    except Exception:
        return
    if not isinstance(now, int) or isinstance(now, bool):
        raise TypeError(f"clock must return an int, as time.time_ns does, not {type(now).__name__}")
    if not _EARLIEST <= int.__index__(now) < _END:
        raise ValueError(
            "clock must return nanoseconds since 1970, as time.time_ns does: its reading is not in "
            "the years 2020 to 9999"
        )
