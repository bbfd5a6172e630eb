"""The types of the component's exports, read once.

`wasmtime.component.Func` reads the type of the function at each call, and the types of its values
while it converts them: several hundred calls of the C API for one `Session`. The classes here are
the public ones of `wasmtime.component` with the properties that the conversions read, but they
keep the values of these properties. Nothing here depends on a name that begins with `_`. It
depends on which properties the conversions read, so the version of wasmtime is pinned, and
`tests/test_signature.py` compares both ways.
"""

from __future__ import annotations

from collections.abc import Callable

from wasmtime import Store
from wasmtime.component import (
    Func,
    FuncType,
    ListType,
    OptionType,
    RecordType,
    ResultType,
    ValType,
    VariantType,
)

Cases = list[tuple[str, ValType | None]]


def _classes(add_classes: Callable[[set[type]], None]) -> set[type]:
    classes: set[type] = set()
    add_classes(classes)
    return classes


class _KeptFuncType(FuncType):
    def __init__(self, params: list[tuple[str, ValType]], result: ValType | None) -> None:
        self._kept_params = params
        self._kept_result = result

    @property
    def params(self) -> list[tuple[str, ValType]]:
        return self._kept_params

    @property
    def result(self) -> ValType | None:
        return self._kept_result


class _KeptRecordType(RecordType):
    def __init__(self, fields: list[tuple[str, ValType]]) -> None:
        self._kept_fields = fields

    @property
    def fields(self) -> list[tuple[str, ValType]]:
        return self._kept_fields


class _KeptListType(ListType):
    def __init__(self, element: ValType) -> None:
        self._kept_element = element

    @property
    def element(self) -> ValType:
        return self._kept_element


class _KeptOptionType(OptionType):
    def __init__(self, payload: ValType) -> None:
        self._kept_payload = payload
        self._kept_classes = _classes(super().add_classes)

    @property
    def payload(self) -> ValType:
        return self._kept_payload

    def add_classes(self, s: set[type]) -> None:
        s |= self._kept_classes


class _KeptResultType(ResultType):
    def __init__(self, ok: ValType | None, err: ValType | None) -> None:
        self._kept_ok = ok
        self._kept_err = err
        self._kept_classes = _classes(super().add_classes)

    @property
    def ok(self) -> ValType | None:
        return self._kept_ok

    @property
    def err(self) -> ValType | None:
        return self._kept_err

    def add_classes(self, s: set[type]) -> None:
        s |= self._kept_classes


class _KeptVariantType(VariantType):
    def __init__(self, cases: Cases) -> None:
        self._kept_cases = cases
        self._kept_classes = _classes(super().add_classes)

    @property
    def cases(self) -> Cases:
        return self._kept_cases

    def add_classes(self, s: set[type]) -> None:
        s |= self._kept_classes


def read(function: Func, store: Store) -> FuncType:
    """Returns the type of a function. It can be used with all instances of the component."""
    ty = function.type(store)
    params = [(name, _kept(param)) for name, param in ty.params]
    return _KeptFuncType(params, _kept_optional(ty.result))


def use(function: Func, signature: FuncType) -> None:
    """Makes a function use this type, instead of reading it at each call."""
    # `Func.__call__` asks this method.
    function.type = lambda store: signature  # type: ignore[method-assign]


def _kept(ty: ValType) -> ValType:
    if isinstance(ty, RecordType):
        return _KeptRecordType([(name, _kept(field)) for name, field in ty.fields])
    if isinstance(ty, ListType):
        return _KeptListType(_kept(ty.element))
    if isinstance(ty, OptionType):
        return _KeptOptionType(_kept(ty.payload))
    if isinstance(ty, ResultType):
        return _KeptResultType(_kept_optional(ty.ok), _kept_optional(ty.err))
    if isinstance(ty, VariantType):
        return _KeptVariantType([(name, _kept_optional(case)) for name, case in ty.cases])
    # The conversions of all other types read no property.
    return ty


def _kept_optional(ty: ValType | None) -> ValType | None:
    return None if ty is None else _kept(ty)
