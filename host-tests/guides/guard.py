"""A guard with a table of its tokens, and a host that uses it."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from clawdb_session import (
    Claims,
    GuardExpired,
    GuardInvalidToken,
    IssuedToken,
    IssueRequest,
    SessionError,
    Sessions,
)


@dataclass(frozen=True)
class Row:
    token: bytes
    """The hash of the token."""
    expires_at: int


class TableGuard:
    """A guard whose tokens are `<handle>.<secret>`. Its table has a hash of each token, so the
    table is of no use to a thief.

    An instance makes one call at a time. If several instances share the guard, it needs a lock.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        """Returns a guard without tokens. Its clock must be the one of the component."""
        self.rows: dict[str, Row] = {}
        self._clock = clock

    def issue_session_token(self, request: IssueRequest, /) -> IssuedToken:
        handle = secrets.token_hex(16)
        token = f"{handle}.{secrets.token_hex(32)}"
        self.rows[handle] = Row(_hash(token), request.expires_at)
        return IssuedToken(token, handle, request.expires_at)

    def validate_token(self, token: str, /) -> Claims:
        handle, _, _ = token.partition(".")
        row = self.rows.get(handle)
        # The time of this comparison tells something about the hash, but not about the token.
        if row is None or row.token != _hash(token):
            raise GuardInvalidToken
        if row.expires_at <= self._now():
            raise GuardExpired
        return Claims(handle, row.expires_at)

    def revoke_token(self, handle: str, /) -> None:
        self.rows.pop(handle, None)

    def drop_expired(self) -> None:
        """Drops the rows of tokens that have expired. A host calls it regularly."""
        now = self._now()
        self.rows = {handle: row for handle, row in self.rows.items() if now < row.expires_at}

    def _now(self) -> int:
        return self._clock() // 1_000_000


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def main() -> None:
    guard = TableGuard()
    agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f"
    with Sessions(guard) as sessions:
        token = sessions.create(agent, "researcher", ["memory:read"]).token
        session = sessions.validate(token)
        print(session.agent_id, "may", " and ".join(session.scopes))

        # The component asks the guard to revoke the tokens of the sessions that it ends.
        ended = sessions.revoke_all_for_agent(agent)
        print(ended, "session ended; the guard has", len(guard.rows), "tokens")
        try:
            sessions.validate(token)
        except SessionError as refusal:
            print("the token now:", refusal)


if __name__ == "__main__":
    main()
