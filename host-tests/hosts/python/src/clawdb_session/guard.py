"""The token authority that a host provides: it issues, validates and revokes bearer tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol


@dataclass(frozen=True)
class IssueRequest:
    """A request for a token. Times are milliseconds since 1970."""

    principal: str
    """On whose behalf: `agent:` and the agent's id."""
    task: str
    """The session's task type, or `default` if it has none."""
    session_id: str
    agent_id: str
    workspace_id: str
    role: str
    scopes: tuple[str, ...]
    expires_at: int
    """The requested expiry. The session takes an earlier one, and ignores a later one."""


@dataclass(frozen=True)
class IssuedToken:
    """A token that the guard issued. `repr` does not show the token."""

    token: str = field(repr=False)
    """The bearer token: 1-8,192 bytes."""
    handle: str
    """The guard's name for the token: 1-512 bytes, different for each token."""
    expires_at: int


@dataclass(frozen=True)
class Claims:
    """What a valid token states."""

    handle: str
    """The handle that the token was issued with."""
    expires_at: int


class GuardError(Exception):
    """Why a function of the guard failed. A guard raises one of the subclasses.

    Two errors are equal if they are the same case with the same reason.
    """

    kind: ClassVar[str]

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(*(() if reason is None else (reason,)))
        self.reason = reason

    def __str__(self) -> str:
        return self.kind if self.reason is None else f"{self.kind}: {self.reason}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GuardError):
            return NotImplemented
        return type(self) is type(other) and self.reason == other.reason

    def __hash__(self) -> int:
        return hash((type(self), self.reason))


class GuardInvalidToken(GuardError):
    """The token or handle is not one of this guard's."""

    kind = "invalid-token"

    def __init__(self) -> None:
        super().__init__()


class GuardExpired(GuardError):
    """The token has expired."""

    kind = "expired"

    def __init__(self) -> None:
        super().__init__()


class GuardRevoked(GuardError):
    """The token was revoked."""

    kind = "revoked"

    def __init__(self) -> None:
        super().__init__()


class GuardDenied(GuardError):
    """The guard refuses. The text is a reason, for people."""

    kind = "denied"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class GuardUnavailable(GuardError):
    """The guard cannot answer. The text is a reason, for people. A retry may succeed."""

    kind = "unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class GuardBroken(Exception):
    """The guard must not be used any further: the instance ends, and its sessions are lost.

    This is the only exception of a guard that ends the instance.
    """


class Guard(Protocol):
    """The functions of a guard. They answer at once, or raise a `GuardError`.

    While a function runs, every other call of the instance waits, revocations among them. A
    function that can take long needs a deadline of its own, and then raises `GuardUnavailable`.
    A function must not call the instance: the call raises `Reentrant`.

    Every other exception, and an answer of another type, counts as `unavailable`.
    """

    def issue_session_token(self, request: IssueRequest, /) -> IssuedToken:
        """Issues a token, with a handle that differs from those of all other tokens."""
        ...

    def validate_token(self, token: str, /) -> Claims:
        """Validates a token: its signature, its expiry, and whether it was revoked."""
        ...

    def revoke_token(self, handle: str, /) -> None:
        """Revokes a token, by its handle. Revoking it again is no error."""
        ...


class ValidatesTokens(Protocol):
    """A guard that validates many tokens in one call. Without it, `validate_token` is called."""

    def validate_tokens(self, tokens: Sequence[str], /) -> Sequence[Claims | GuardError]:
        """Validates 1-256 tokens. Returns a result for each, in the order of the tokens."""
        ...


class RevokesTokens(Protocol):
    """A guard that revokes many tokens in one call. Without it, `revoke_token` is called."""

    def revoke_tokens(self, handles: Sequence[str], /) -> Sequence[GuardError | None]:
        """Revokes 1-256 tokens. Returns none or an error for each, in the order of the handles."""
        ...
