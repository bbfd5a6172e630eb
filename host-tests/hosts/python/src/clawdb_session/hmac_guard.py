"""A guard with the standard library only."""

from __future__ import annotations

import base64
import heapq
import hmac
import threading
import time
import uuid

from ._clock import Clock, check_clock
from .guard import (
    Claims,
    GuardExpired,
    GuardInvalidToken,
    GuardRevoked,
    IssuedToken,
    IssueRequest,
)

_MIN_KEY = 32
_MILLISECOND = 1_000_000
_CONTEXT = b"clawdb-session token 1\0"
"""Separates these codes from others that are made with the same key."""


class HmacGuard:
    """A guard whose tokens are `<id>.<expiry>.<HMAC-SHA256>`. It never waits.

    The handle of a token is its first two parts, which do not help to make the third. The
    revocations are in the memory of this guard until their tokens have expired: another process
    with the same key does not have them. The component does not depend on them, because it
    refuses the tokens of ended sessions itself.

    Threads can share a guard.
    """

    def __init__(self, key: bytes | bytearray, *, clock: Clock = time.time_ns) -> None:
        """Returns a guard with a copy of this key, which has at least 32 random bytes.

        `clock` should be that of the component, so that both agree on which tokens have expired.

        Raises `TypeError` or `ValueError` for a key or a clock that cannot be used.
        """
        # `bytes` would make other values into a key, such as a list of numbers.
        if not isinstance(key, (bytes, bytearray)):
            raise TypeError(f"the key must be bytes, not {type(key).__name__}")
        if len(key) < _MIN_KEY:
            raise ValueError(f"the key has {len(key)} bytes and must have at least {_MIN_KEY}")
        check_clock(clock)
        self._key = bytes(key)
        self._clock = clock
        self._lock = threading.Lock()
        self._revoked: set[str] = set()
        self._expiries: list[tuple[int, str]] = []
        """The revoked handles as a heap, so that those that expire first are dropped first."""

    def __repr__(self) -> str:
        return "HmacGuard(...)"

    def issue_session_token(self, request: IssueRequest, /) -> IssuedToken:
        """Issues a token that expires as requested."""
        handle = f"{uuid.uuid4().hex}.{request.expires_at}"
        return IssuedToken(f"{handle}.{self._code(handle)}", handle, request.expires_at)

    def validate_token(self, token: str, /) -> Claims:
        """Returns the claims of a token that has this guard's code, if it is still valid."""
        handle, _, code = token.rpartition(".")
        # `compare_digest` takes texts only if they are ASCII.
        if not hmac.compare_digest(code.encode(), self._code(handle).encode()):
            raise GuardInvalidToken
        expires_at = _expiry(handle)
        if expires_at <= self._now():
            raise GuardExpired
        with self._lock:
            if handle in self._revoked:
                raise GuardRevoked
        return Claims(handle, expires_at)

    def revoke_token(self, handle: str, /) -> None:
        """Revokes a token, and drops the revocations of tokens that have expired."""
        expires_at = _expiry(handle)
        now = self._now()
        with self._lock:
            while self._expiries and self._expiries[0][0] <= now:
                _, expired = heapq.heappop(self._expiries)
                self._revoked.discard(expired)
            if expires_at > now and handle not in self._revoked:
                self._revoked.add(handle)
                heapq.heappush(self._expiries, (expires_at, handle))

    def _code(self, handle: str) -> str:
        code = hmac.digest(self._key, _CONTEXT + handle.encode(), "sha256")
        return base64.urlsafe_b64encode(code).rstrip(b"=").decode()

    def _now(self) -> int:
        return self._clock() // _MILLISECOND


def _expiry(handle: str) -> int:
    """Returns the expiry in a handle."""
    identifier, _, expiry = handle.partition(".")
    if len(identifier) != 32 or not expiry.isascii() or not expiry.isdecimal():
        raise GuardInvalidToken
    # Python refuses to parse very long numbers.
    if len(expiry) > 20:
        raise GuardInvalidToken
    return int(expiry)
