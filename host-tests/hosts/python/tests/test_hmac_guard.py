"""The guard with the standard library only."""

from __future__ import annotations

import time
from array import array
from dataclasses import replace
from typing import Any, cast

import pytest

from clawdb_session import (
    Claims,
    GuardDenied,
    GuardError,
    GuardExpired,
    GuardInvalidToken,
    GuardRevoked,
    GuardUnavailable,
    HmacGuard,
    IssuedToken,
    IssueRequest,
)
from controls import SECOND, START, ManualClock

KEY = bytes(range(32))
EXPIRY = START // 1_000_000 + 60_000
REQUEST = IssueRequest("agent:a", "t", "s", "a", "w", "r", (), EXPIRY)


@pytest.fixture
def guard(clock: ManualClock) -> HmacGuard:
    """Returns a guard."""
    return HmacGuard(KEY, clock=clock)


@pytest.fixture
def issued(guard: HmacGuard) -> IssuedToken:
    """Returns a token of the guard."""
    return guard.issue_session_token(REQUEST)


def test_a_token_states_its_handle_and_expiry(guard: HmacGuard, issued: IssuedToken) -> None:
    assert issued.expires_at == EXPIRY
    assert guard.validate_token(issued.token) == Claims(issued.handle, EXPIRY)
    assert guard.issue_session_token(REQUEST).handle != issued.handle
    assert issued.token not in repr(issued) and repr(KEY) not in repr(guard)


def test_every_change_of_a_token_is_found(guard: HmacGuard, issued: IssuedToken) -> None:
    for i, character in enumerate(issued.token):
        other = "A" if character != "A" else "B"
        with pytest.raises(GuardInvalidToken):
            guard.validate_token(issued.token[:i] + other + issued.token[i + 1 :])
        with pytest.raises(GuardInvalidToken):
            guard.validate_token(issued.token[:i])


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "ü.1.ü", "x" * 8_192, "9" * 8_192])
def test_other_texts_are_no_tokens(guard: HmacGuard, token: str) -> None:
    with pytest.raises(GuardInvalidToken):
        guard.validate_token(token)
    with pytest.raises(GuardInvalidToken):
        guard.revoke_token(token)


def test_another_key_validates_no_token(clock: ManualClock, issued: IssuedToken) -> None:
    with pytest.raises(GuardInvalidToken):
        HmacGuard(bytes(32), clock=clock).validate_token(issued.token)
    HmacGuard(KEY, clock=clock).validate_token(issued.token)
    with pytest.raises(ValueError, match="has 31 bytes"):
        HmacGuard(bytes(31))


class Lengthy:
    """An object that has a length and is no key."""

    def __len__(self) -> int:
        return 32


@pytest.mark.parametrize(
    "key",
    ["k" * 40, [7] * 32, (7,) * 32, range(32), Lengthy(), {i: i for i in range(32)}, None, 32]
    + [array("B", bytes(32)), memoryview(bytes(32))],
)
def test_a_key_must_be_bytes(key: Any) -> None:
    with pytest.raises(TypeError, match="^the key must be bytes, not "):
        HmacGuard(key)


def test_a_key_is_copied(clock: ManualClock, issued: IssuedToken) -> None:
    key = bytearray(KEY)
    guard = HmacGuard(key, clock=clock)
    key[0] ^= 1
    guard.validate_token(issued.token)


def test_a_clock_that_cannot_be_used_is_refused() -> None:
    cases: list[tuple[object, type[Exception]]] = [
        (7, TypeError),
        (time.time, TypeError),
        (lambda: START // SECOND, ValueError),
    ]
    for clock, wrong in cases:
        with pytest.raises(wrong, match="^clock must "):
            HmacGuard(KEY, clock=cast(Any, clock))


def test_a_token_expires(guard: HmacGuard, clock: ManualClock, issued: IssuedToken) -> None:
    clock.now = EXPIRY * 1_000_000 - 1
    guard.validate_token(issued.token)
    clock.now += 1
    with pytest.raises(GuardExpired):
        guard.validate_token(issued.token)
    guard.revoke_token(issued.handle)


def test_a_revoked_token_stays_revoked(guard: HmacGuard, issued: IssuedToken) -> None:
    other = guard.issue_session_token(REQUEST)
    for _ in range(2):
        guard.revoke_token(issued.handle)
        with pytest.raises(GuardRevoked):
            guard.validate_token(issued.token)
    guard.validate_token(other.token)


def test_revocations_of_expired_tokens_are_dropped(guard: HmacGuard, clock: ManualClock) -> None:
    for seconds in range(100):
        clock.now = START + seconds * SECOND
        expires_at = EXPIRY + 1_000 * seconds
        token = guard.issue_session_token(replace(REQUEST, expires_at=expires_at))
        guard.revoke_token(token.handle)
    assert len(guard._revoked) == len(guard._expiries) == 60


def test_errors_of_the_guard_compare_by_case_and_reason() -> None:
    errors: list[GuardError] = [GuardDenied("a"), GuardDenied("b"), GuardUnavailable("a")]
    assert len({*errors, GuardDenied("a"), GuardExpired(), GuardExpired()}) == 4
    assert GuardDenied("a") != ValueError("a")
    assert (str(GuardExpired()), str(errors[0])) == ("expired", "denied: a")
