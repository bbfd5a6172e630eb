"""Machine code of the component in a directory to which only this user can write."""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import tempfile
from importlib.metadata import version
from pathlib import Path

from wasmtime import Engine, WasmtimeError
from wasmtime.component import Component

_DIGEST_SIZE = hashlib.sha256().digest_size


class CodeCache:
    """The file for the machine code of one component.

    wasmtime does not check machine code, so nobody else may be able to write it. The file begins
    with the SHA-256 of the code, which detects damage by accident.
    """

    def __init__(self, directory: Path, component: bytes) -> None:
        """Opens the directory, and creates it if it does not exist.

        Raises `OSError` if that fails or another user can write to the directory.
        """
        if os.name != "posix":
            raise PermissionError("this system does not tell who can write to a directory")
        directory = directory.absolute()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(directory)
        # wasmtime refuses the code of another version or processor; another name avoids that.
        key = "\0".join((version("wasmtime"), platform.system(), platform.machine()))
        digest = hashlib.sha256(key.encode() + b"\0" + component).hexdigest()
        self._directory = directory
        self._file = directory / f"clawdb-session-{digest[:32]}.cwasm"

    def load(self, engine: Engine) -> Component | None:
        """Returns the component, or `None` if there is no code for it that can be used."""
        try:
            # A symbolic link could lead to a file of another user.
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with open(descriptor, "rb") as file:
            if not _is_private_file(os.fstat(descriptor)):
                return None
            content = file.read()
        digest, code = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        if hashlib.sha256(code).digest() != digest:
            return None
        try:
            return Component.deserialize(engine, code)
        except WasmtimeError:
            return None

    def store(self, code: bytes | bytearray) -> None:
        """Writes the code. A process that reads meanwhile finds all of it or none."""
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self._directory)
        try:
            with open(descriptor, "wb") as file:
                file.write(hashlib.sha256(code).digest())
                file.write(code)
                file.flush()
                # Without this, the file could be incomplete after a power failure.
                os.fsync(descriptor)
            os.replace(temporary, self._file)
        except BaseException:
            os.unlink(temporary)
            raise


def _check_private(directory: Path) -> None:
    """Checks that only this user, or root, can write to a directory or replace it."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{directory} is a symbolic link or no directory")
    if found.st_uid != os.geteuid() or _others_can_write(found):
        raise PermissionError(f"another user can write to {directory}")
    for parent in directory.resolve().parents:
        found = os.lstat(parent)
        # In a directory with the sticky bit, such as /tmp, others cannot rename the entries.
        if found.st_uid not in (0, os.geteuid()) or (
            _others_can_write(found) and not found.st_mode & stat.S_ISVTX
        ):
            raise PermissionError(f"another user can replace {directory}: see {parent}")


def _is_private_file(found: os.stat_result) -> bool:
    is_file = stat.S_ISREG(found.st_mode)
    return is_file and found.st_uid == os.geteuid() and not _others_can_write(found)


def _others_can_write(found: os.stat_result) -> bool:
    return bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
