"""An instance of the component in wasmtime. Its caller makes one call at a time."""

from __future__ import annotations

from typing import Any, Final

from wasmtime import Store, WasiConfig, WasmtimeError
from wasmtime.component import ExportIndex, Func, Linker, Variant

from . import _signature
from ._imports import Imports
from ._values import session_error
from .component import Component
from .errors import StartError, Trapped

FUNCTIONS: Final[dict[str, tuple[str, ...]]] = {
    "sessions": (
        "create",
        "delegate",
        "validate",
        "validate-many",
        "authorize",
        "rotate",
        "touch",
        "refresh",
        "revoke",
        "revoke-by-token",
        "revoke-all-for-agent",
        "revoke-all",
        "flush-guard-revocations",
        "get",
        "list-for-agent",
        "active-count",
        "prune-expired",
    ),
    "legacy": ("create-session", "get-session", "invalidate"),
    "events": ("poll-events",),
    "persistence": ("changes", "restore", "close-event-run", "flush-stored-revocations"),
    "settings": ("configure", "accept-clock", "stats"),
}
"""The operations of the component, by interface. Their names differ from each other."""

_SPARE_FRAMES: Final = 48
"""How many frames a call needs, at most, besides those of the guard, which may fail."""


class Instance:
    """An instance of the component, with its store."""

    def __init__(self, component: Component, imports: Imports, max_memory: int) -> None:
        """Starts an instance without sessions. Raises `StartError`."""
        self._imports = imports
        self._store = Store(component.engine)
        self._store.set_limits(memory_size=max_memory)
        try:
            # No files, environment, arguments or standard streams.
            self._store.set_wasi(WasiConfig())
            with Linker(component.engine) as linker:
                imports.define(linker)
                self._instance = linker.instantiate(self._store, component.compiled)
            self.functions = {
                name: self._function(component, interface, name)
                for interface, names in FUNCTIONS.items()
                for name in names
            }
        except BaseException as error:
            # The traceback of an error refers to the store.
            self._store.close()
            if isinstance(error, WasmtimeError):
                raise StartError(f"the component could not be started: {error}") from error
            raise

    def _function(self, component: Component, interface: str, name: str) -> Func:
        index: ExportIndex | None = None
        for part in (f"clawdb:session-sync/{interface}@0.1.0", name):
            index = component.compiled.get_export_index(part, index)
            if index is None:
                raise StartError(f"the component has no {part}: it is of another world")
        function: Func | None = self._instance.get_func(self._store, index)
        if function is None:
            raise StartError(f"{name} of the component is no function")
        signature = component.signatures.get(name)
        if signature is None:
            signature = _signature.read(function, self._store)
            component.signatures[name] = signature
        _signature.use(function, signature)
        return function

    def call(self, function: str, *arguments: object) -> Any:
        """Calls an operation and returns its value.

        Raises the `SessionError` of the operation, or `Trapped` if the instance has ended.
        """
        # Too few frames for the conversions of wasmtime would end the instance.
        _reserve_frames(_SPARE_FRAMES)
        self._imports.interrupt = None
        try:
            answer = self.functions[function](self._store, *arguments)
        except WasmtimeError as error:
            raise Trapped(self._imports.broken or str(error)) from None
        finally:
            interrupt = self._imports.interrupt
            if interrupt is not None:
                self._imports.interrupt = None
                raise interrupt
        # A case of an error differs from each value, so it is a bare `Variant`.
        if isinstance(answer, Variant):
            raise session_error(answer)
        return answer

    def close(self) -> None:
        """Frees the memory of the instance."""
        self._store.close()


def _reserve_frames(count: int) -> None:
    """Raises `RecursionError` if the thread cannot nest this many more calls."""
    if count:
        _reserve_frames(count - 1)
