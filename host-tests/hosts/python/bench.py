"""Prints how long a `validate` takes, with a guard that takes almost no time."""

from __future__ import annotations

import platform
import statistics
import time
from importlib.metadata import version

from clawdb_session import Claims, IssuedToken, IssueRequest, Sessions

ROUNDS = 15
CALLS = 200


class TrivialGuard:
    """Issues one token and accepts it."""

    expires_at = 0

    def issue_session_token(self, request: IssueRequest, /) -> IssuedToken:
        self.expires_at = request.expires_at
        return IssuedToken("token", "handle", request.expires_at)

    def validate_token(self, token: str, /) -> Claims:
        return Claims("handle", self.expires_at)

    def revoke_token(self, handle: str, /) -> None:
        pass


def microseconds(sessions: Sessions) -> float:
    """Returns the time of one call: the median of the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            sessions.validate("token")
        rounds.append((time.perf_counter() - start) / CALLS * 1e6)
    return statistics.median(rounds)


def main() -> None:
    with Sessions(TrivialGuard()) as sessions:
        sessions.create("7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f", "researcher", ["memory:read"])
        kept = microseconds(sessions)
        # Without this, the function reads its type at each call.
        del vars(sessions._instance.functions["validate"])["type"]
        read = microseconds(sessions)
    versions = f"wasmtime {version('wasmtime')}, Python {platform.python_version()}"
    print(f"validate: {kept:.0f} us, {read:.0f} us if types are read at each call ({versions})")


if __name__ == "__main__":
    main()
