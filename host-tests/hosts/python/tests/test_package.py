"""The package that `pip` builds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

FOLDER = Path(__file__).parents[1]
ROOT = FOLDER.parents[2]
FILES = ("README.md", "pyproject.toml", "setup.py")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Returns a copy of the package's folder, with the licence where the repository has it."""
    folder = tmp_path / FOLDER.relative_to(ROOT)
    shutil.copytree(FOLDER / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for file in FILES:
        shutil.copy(FOLDER / file, folder)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    return folder


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Builds a wheel in the folder `wheels` of a folder."""
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder / "wheels"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_wheel_has_the_component_the_types_and_the_licence(copy: Path) -> None:
    built = build(copy)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = (copy / "wheels").iterdir()
    with ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    modules = {f"clawdb_session/{path.name}" for path in (copy / "src").glob("*/*.py")}
    assert modules and modules <= set(contents)
    component = (copy / "src/clawdb_session/session-sync.wasm").read_bytes()
    assert contents["clawdb_session/session-sync.wasm"] == component
    assert "clawdb_session/py.typed" in contents
    (licence,) = (name for name in contents if name.endswith("/licenses/LICENSE"))
    assert contents[licence] == (ROOT / "LICENSE").read_bytes()


def test_without_the_component_no_wheel_is_built(copy: Path) -> None:
    (copy / "src/clawdb_session/session-sync.wasm").unlink()
    built = build(copy)
    assert built.returncode != 0
    assert "session-sync.wasm does not exist: build it with run-tests" in built.stderr
    assert not (copy / "wheels").exists() or not list((copy / "wheels").iterdir())


def test_without_a_licence_no_wheel_is_built(copy: Path) -> None:
    (copy.parents[2] / "LICENSE").unlink()
    built = build(copy)
    assert built.returncode != 0
    assert "LICENSE does not exist" in built.stderr
