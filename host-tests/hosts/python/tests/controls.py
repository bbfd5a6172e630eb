"""A guard, a clock and a random source that tests control.

`host-tests/vectors/README.md` describes the modes.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from clawdb_session import (
    Claims,
    Guard,
    GuardBroken,
    GuardDenied,
    GuardError,
    GuardRevoked,
    GuardUnavailable,
    IssuedToken,
    IssueRequest,
)

SECOND = 1_000_000_000
START = 1_893_456_000 * SECOND
"""2030-01-01T00:00:00Z, where a controlled clock starts, in nanoseconds."""
MODES = ("ok", "deny", "unavailable", "revoked", "wrong-handle", "short", "trap")
FUNCTIONS = ("issue", "validate", "revoke")

T = TypeVar("T")


@dataclass
class ManualClock:
    """A clock that stands still until it is set. `now` is in nanoseconds."""

    now: int = START

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves the clock; backwards if `seconds` is negative."""
        self.now += round(seconds * SECOND)


@dataclass
class ControlledEntropy:
    """A random source that can repeat its bytes."""

    repeats: bool = False

    def __call__(self, count: int) -> bytes:
        if self.repeats:
            return bytes(1 + i % 255 for i in range(count))
        return os.urandom(count)


@dataclass
class BatchCalls:
    """The calls of a batch function, as the component made them."""

    calls: int = 0
    items: int = 0

    def count(self, items: int) -> None:
        """Counts a call."""
        self.calls += 1
        self.items += items


@dataclass
class ControlledGuard:
    """A guard that wraps another one and has a mode for each function."""

    inner: Guard
    modes: dict[str, str] = field(default_factory=lambda: dict.fromkeys(FUNCTIONS, "ok"))
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FUNCTIONS, 0))
    validate_batches: BatchCalls = field(default_factory=BatchCalls)
    revoke_batches: BatchCalls = field(default_factory=BatchCalls)

    def set_mode(self, mode: str, on: str = "all") -> None:
        """Sets the mode of a function, or of `all`."""
        assert mode in MODES, mode
        for function in FUNCTIONS if on == "all" else (on,):
            assert function in self.modes, function
            self.modes[function] = mode

    def issue_session_token(self, request: IssueRequest, /) -> IssuedToken:
        wrong_handle = self._enter("issue")
        issued = self.inner.issue_session_token(request)
        if wrong_handle:
            return IssuedToken(issued.token, str(uuid.uuid4()), issued.expires_at)
        return issued

    def validate_token(self, token: str, /) -> Claims:
        wrong_handle = self._enter("validate")
        claims = self.inner.validate_token(token)
        return Claims(str(uuid.uuid4()), claims.expires_at) if wrong_handle else claims

    def revoke_token(self, handle: str, /) -> None:
        self._enter("revoke")
        self.inner.revoke_token(handle)

    def validate_tokens(self, tokens: Sequence[str], /) -> Sequence[Claims | GuardError]:
        self.validate_batches.count(len(tokens))
        return self._batch("validate", self.validate_token, tokens)

    def revoke_tokens(self, handles: Sequence[str], /) -> Sequence[GuardError | None]:
        self.revoke_batches.count(len(handles))
        return self._batch("revoke", self.revoke_token, handles)

    def _enter(self, function: str) -> bool:
        """Counts a call. Returns whether the answer gets a wrong handle, or raises an error."""
        self.calls[function] += 1
        mode = self.modes[function]
        if mode == "deny":
            raise GuardDenied("the guard was told to deny")
        if mode == "unavailable":
            raise GuardUnavailable("the guard was told to be unavailable")
        if mode == "revoked":
            raise GuardRevoked
        if mode == "trap":
            raise GuardBroken("the guard was told to trap")
        return mode == "wrong-handle"

    def _batch(
        self, function: str, call: Callable[[str], T], items: Sequence[str]
    ) -> list[T | GuardError]:
        results: list[T | GuardError] = []
        for item in items:
            try:
                results.append(call(item))
            except GuardUnavailable as error:
                results += [error] * (len(items) - len(results))
                break
            except GuardError as error:
                results.append(error)
        if self.modes[function] == "short":
            results.pop()
        return results
