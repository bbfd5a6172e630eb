"""The compiled component, which any number of instances can share."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from wasmtime import Engine, WasmtimeError
from wasmtime import component as wasm

from ._code_cache import CodeCache
from .errors import StartError

Source = str | os.PathLike[str] | bytes
"""The component: the path of a file, or its bytes."""


class Component:
    """The compiled component of the world `session-sync`.

    Compiling takes some 100 ms. Instances that share a component start in 1-10 ms.
    """

    def __init__(
        self, source: Source | None = None, *, cache_dir: str | Path | None = None
    ) -> None:
        """Compiles the component; by default the file that this package contains.

        With `cache_dir`, the machine code is kept in that directory, and loading it takes a few
        milliseconds. Only this user may be able to write to the directory and to those above it,
        because this process runs the code in it. It is created if it does not exist.

        Raises `StartError`.
        """
        code = _bytes(source)
        self.engine = Engine()
        try:
            cache = None if cache_dir is None else CodeCache(Path(cache_dir), code)
            compiled = None if cache is None else cache.load(self.engine)
            if compiled is None:
                compiled = wasm.Component(self.engine, code)
                if cache is not None:
                    cache.store(compiled.serialize())
        except WasmtimeError as error:
            raise StartError(f"the component could not be compiled: {error}") from error
        except OSError as error:
            raise StartError(f"the code cache cannot be used: {error}") from error
        self.compiled = compiled
        self.signatures: dict[str, wasm.FuncType] = {}
        """The types of the operations, which the first instance reads."""


def _bytes(source: Source | None) -> bytes:
    if isinstance(source, (bytes, bytearray)):
        return bytes(source)
    try:
        if source is None:
            return resources.files(__package__).joinpath("session-sync.wasm").read_bytes()
        return Path(source).read_bytes()
    except OSError as error:
        raise StartError(f"the component could not be read: {error}") from error
