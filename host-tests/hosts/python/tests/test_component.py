"""Loading the component, and the cache of its machine code."""

from __future__ import annotations

import hashlib
import os
import stat
from importlib import resources
from pathlib import Path

import pytest

from clawdb_session import Component, HmacGuard, Sessions, StartError
from conftest import AGENT

FILE = Path(str(resources.files("clawdb_session"))) / "session-sync.wasm"


def works(component: Component) -> bool:
    """Returns whether an instance of a component works."""
    with Sessions(HmacGuard(bytes(32)), component=component) as sessions:
        grant = sessions.create(AGENT, "worker")
        return sessions.validate(grant.token) == grant.session


@pytest.mark.parametrize("source", [FILE, str(FILE), FILE.read_bytes()])
def test_the_component_can_be_a_path_or_bytes(source: Path | str | bytes) -> None:
    with Sessions(HmacGuard(bytes(32)), component=source) as sessions:
        assert sessions.active_count() == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("/no/such/file", "could not be read: .*No such file"),
        (b"no component", "could not be compiled"),
        (b"\0asm\x0d\0\1\0", "could not be started|is of another world"),
    ],
)
def test_a_component_that_cannot_be_loaded_is_reported(source: str | bytes, reason: str) -> None:
    with pytest.raises(StartError, match=reason):
        Sessions(HmacGuard(bytes(32)), component=source)


def files(directory: Path) -> list[Path]:
    """Returns the files in a directory, hidden ones included."""
    return sorted(directory.iterdir())


def test_machine_code_is_kept_in_a_private_directory(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "cache"
    assert works(Component(cache_dir=directory))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (file,) = files(directory)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = file.stat().st_mtime_ns, file.stat().st_ino
    assert works(Component(cache_dir=str(directory)))
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == written


def test_code_that_is_damaged_or_of_others_is_replaced(tmp_path: Path) -> None:
    assert works(Component(cache_dir=tmp_path))
    (file,) = files(tmp_path)
    code = file.read_bytes()

    def damage() -> None:
        file.write_bytes(code[:-1] + bytes([code[-1] ^ 1]))

    def cut() -> None:
        file.write_bytes(code[: len(code) // 2])

    def open_to_others() -> None:
        file.chmod(0o622)

    def link() -> None:
        other = tmp_path.parent / "elsewhere.cwasm"
        other.write_bytes(code)
        file.unlink()
        file.symlink_to(other)

    for change in (damage, cut, open_to_others, link):
        change()
        assert works(Component(cache_dir=tmp_path))
        assert files(tmp_path) == [file] and not file.is_symlink()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_bytes()) == len(code)


def test_code_that_wasmtime_refuses_is_replaced(tmp_path: Path) -> None:
    Component(cache_dir=tmp_path)
    (file,) = files(tmp_path)
    other = b"code of another version"
    file.write_bytes(hashlib.sha256(other).digest() + other)
    assert works(Component(cache_dir=tmp_path))
    assert len(file.read_bytes()) > 10_000


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StartError, match="another user can write to"):
        Component(cache_dir=tmp_path)
    assert files(tmp_path) == []


def test_a_directory_that_others_can_replace_is_refused(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    directory = parent / "cache"
    directory.mkdir(mode=0o700, parents=True)
    parent.chmod(0o777)
    with pytest.raises(StartError, match="another user can replace"):
        Component(cache_dir=directory)
    # As /tmp: others can add entries, and rename only their own.
    parent.chmod(0o1777)
    assert works(Component(cache_dir=directory))


def test_a_symbolic_link_or_a_file_is_no_directory(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    directory.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(directory)
    with pytest.raises(StartError, match="symbolic link"):
        Component(cache_dir=link)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StartError, match="cannot be used"):
        Component(cache_dir=file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    directory.mkdir(mode=0o700)
    os.chown(directory, 65_534, 65_534)
    with pytest.raises(StartError, match="another user can write to"):
        Component(cache_dir=directory)
    os.chown(directory, 0, 0)
    Component(cache_dir=directory)
    (file,) = files(directory)
    os.chown(file, 65_534, 65_534)
    assert works(Component(cache_dir=directory))
    assert file.stat().st_uid == 0
