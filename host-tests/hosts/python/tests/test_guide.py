"""The guard of `host-tests/guides/write-a-guard.md`: what it prints, and its errors."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from clawdb_session import Component, GuardExpired, GuardInvalidToken, Sessions
from conftest import AGENT
from controls import ManualClock

FOLDER = Path(__file__).parents[3] / "guides"
FILE = FOLDER / "guard.py"


def guard_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guide_guard", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_guide_contains_the_program_and_what_it_prints() -> None:
    guide = (FOLDER / "write-a-guard.md").read_text(encoding="utf-8")
    assert f"\n```python\n{FILE.read_text(encoding='utf-8')}```\n" in guide
    (printed,) = re.findall(r"^```text\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-W", "error", str(FILE)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    assert ended.stdout == printed


def test_the_program_has_correct_types(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(FILE)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_guard_refuses_wrong_expired_and_revoked_tokens(
    component: Component, clock: ManualClock
) -> None:
    guard = guard_module().TableGuard(clock)
    with Sessions(guard, component=component, clock=clock) as sessions:
        token = sessions.create(AGENT, "worker", expires_in=60).token
        handle = guard.validate_token(token).handle
        for wrong in ["", ".", handle, f"{handle}.{'0' * 64}", f"{token}0", f"{token}."]:
            with pytest.raises(GuardInvalidToken):
                guard.validate_token(wrong)
        clock.advance(60)
        with pytest.raises(GuardExpired):
            guard.validate_token(token)
        guard.drop_expired()
        assert guard.rows == {}
        token = sessions.create(AGENT, "worker").token
        sessions.revoke_all_for_agent(AGENT)
        with pytest.raises(GuardInvalidToken):
            guard.validate_token(token)
