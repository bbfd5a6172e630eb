"""The composed component in Python: it imports only WASI, so the host provides nothing."""

from __future__ import annotations

import os
from typing import Any

from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record

KEYS = "clawdb:jwt-guard/keys@0.1.0"
SESSIONS = "clawdb:session-sync/sessions@0.1.0"


class Composed:
    """An instance of the composed component. One thread at a time may call it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Starts an instance without a key and without sessions."""
        engine = Engine()
        component = Component.from_file(engine, os.fspath(path))
        linker = Linker(engine)
        linker.add_wasip2()
        self._store = Store(engine)
        self._store.set_wasi(WasiConfig())
        self._instance = linker.instantiate(self._store, component)

    def call(self, interface: str, name: str, *arguments: object) -> Any:
        """Returns what a function returns, as `wasmtime` represents it.

        A result is its bare value: the value of `ok` or of `err`.
        """
        exported = self._instance.get_export_index(self._store, interface)
        index = self._instance.get_export_index(self._store, name, exported)
        if index is None:
            raise LookupError(f"{interface} has no function {name}")
        function = self._instance.get_func(self._store, index)
        assert function is not None, f"{name} is a function"
        returned = function(self._store, *arguments)
        function.post_return(self._store)
        return returned


def create_request(agent_id: str, role: str, scopes: list[str], expires_in: int) -> Record:
    """Returns the record `create-request`. Its attributes have the names of the WIT."""
    request = Record()
    fields = {
        "agent-id": agent_id,
        "role": role,
        "scopes": scopes,
        "task-type": None,
        "expires-in": expires_in,
        "metadata": None,
        "max-uses": None,
    }
    for name, value in fields.items():
        setattr(request, name, value)
    return request
