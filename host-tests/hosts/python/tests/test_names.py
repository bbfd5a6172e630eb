"""The names of the package, compared with those in the types of the component."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from itertools import chain
from typing import Any

from wasmtime.component import (
    ComponentInstanceType,
    EnumType,
    FuncType,
    ListType,
    OptionType,
    RecordType,
    ResultType,
    String,
    U64,
    ValType,
    Variant,
    VariantType,
)

import clawdb_session
from clawdb_session import (
    Change,
    ChangePage,
    Component,
    Config,
    Denial,
    Duplicate,
    EndReason,
    Event,
    EventKind,
    EventPage,
    FlushReport,
    Grant,
    GuardError,
    HostError,
    Limit,
    Overflow,
    Revocation,
    Session,
    SessionError,
    SessionPage,
    Statistics,
)
from clawdb_session._values import record, session_error

Named = RecordType | EnumType | VariantType

ENUMS: list[type[Enum]] = [Limit, Duplicate, EndReason, Denial, Overflow, EventKind]
RECORDS: list[type[Any]] = [
    Change,
    ChangePage,
    Config,
    Event,
    EventPage,
    FlushReport,
    Grant,
    Revocation,
    Session,
    SessionPage,
    Statistics,
]
ARGUMENTS = [
    {"agent-id", "role", "scopes", "task-type", "expires-in", "metadata", "max-uses"},
    {"cursor", "limit"},
    {"field", "reason"},
    {"key", "reason"},
]
"""The records whose fields are arguments of methods or members of an exception."""
FILTER = {"everything", "role", "root"}


def named(ty: ValType | None) -> Iterator[Named]:
    """Returns the records, enums and variants in a type."""
    inner: list[ValType | None] = []
    if isinstance(ty, (RecordType, EnumType, VariantType)):
        yield ty
    if isinstance(ty, RecordType):
        inner = [field for _, field in ty.fields]
    elif isinstance(ty, VariantType):
        inner = [case for _, case in ty.cases]
    elif isinstance(ty, ListType):
        inner = [ty.element]
    elif isinstance(ty, OptionType):
        inner = [ty.payload]
    elif isinstance(ty, ResultType):
        inner = [ty.ok, ty.err]
    for one in inner:
        yield from named(one)


def signatures(component: Component) -> Iterator[FuncType]:
    """Returns the types of the operations."""
    for extern in component.compiled.type.exports(component.engine).values():
        assert isinstance(extern.ty, ComponentInstanceType)
        for member in extern.ty.exports(component.engine).values():
            if isinstance(member.ty, FuncType):
                yield member.ty


def members(ty: Named) -> list[str]:
    """Returns the names in a type, in the order of the contract."""
    if isinstance(ty, RecordType):
        return [name for name, _ in ty.fields]
    if isinstance(ty, EnumType):
        return list(ty.names)
    return [name for name, _ in ty.cases]


def exported(base: type[Any]) -> Iterator[tuple[str, Any]]:
    """Returns the exported errors of a base class, with their names."""
    for name in clawdb_session.__all__:
        error = getattr(clawdb_session, name)
        if isinstance(error, type) and issubclass(error, base) and error is not base:
            yield name, error


def kinds(base: type[Any]) -> list[str]:
    """Returns the kinds of the exported errors of a base class."""
    return [error.kind for _, error in exported(base)]


def test_each_name_is_that_of_the_contract(component: Component) -> None:
    types = list(
        chain.from_iterable(
            named(ty)
            for signature in signatures(component)
            for ty in [*(param for _, param in signature.params), signature.result]
        )
    )
    found: dict[type[Named], set[frozenset[str]]] = {}
    for ty in types:
        kind = next(it for it in (RecordType, EnumType, VariantType) if isinstance(ty, it))
        found.setdefault(kind, set()).add(frozenset(members(ty)))

    assert all(map(is_dataclass, RECORDS))
    records = [{field.name.replace("_", "-") for field in fields(it)} for it in RECORDS]
    # In the contract, the reason of an event is in its `kind`.
    records[RECORDS.index(Event)].remove("reason")
    assert found[RecordType] == {frozenset(it) for it in [*records, *ARGUMENTS]}

    enums = {it: frozenset(case.value for case in it) for it in ENUMS}
    assert found[EnumType] == {names for it, names in enums.items() if it is not EventKind}

    variants = [FILTER, enums[EventKind], kinds(SessionError), kinds(GuardError)]
    assert found[VariantType] == {frozenset(it) for it in variants}


def test_each_error_is_a_class_whose_name_is_its_kind() -> None:
    special = {"GuardRefused": "guard", "Trapped": "trap"}
    for base in (SessionError, GuardError, HostError):
        for name, error in exported(base):
            short = name.removeprefix("Guard") if base is GuardError else name
            hyphened = re.sub("(?<!^)(?=[A-Z])", "-", short).lower()
            assert error.kind == special.get(name, hyphened)
    assert set(kinds(HostError)) == {"busy", "closed", "reentrant", "trap"}


def samples(ty: ValType | None) -> list[Any]:
    """Returns values of a type as wasmtime gives them: one for each case of a variant or enum."""
    if ty is None:
        return [None]
    if isinstance(ty, EnumType):
        return list(ty.names)
    if isinstance(ty, VariantType):
        return [Variant(name, payload) for name, case in ty.cases for payload in samples(case)]
    if isinstance(ty, RecordType):
        return [record(**{name: samples(field)[0] for name, field in ty.fields})]
    return [{String: "text", U64: 7}[type(ty)]]


def test_each_error_of_the_component_becomes_its_class(component: Component) -> None:
    errors = next(
        ty
        for signature in signatures(component)
        for ty in named(signature.result)
        if isinstance(ty, VariantType) and "session-not-found" in members(ty)
    )
    converted = [(variant, session_error(variant)) for variant in samples(errors)]
    assert {error.kind for _, error in converted} == set(members(errors))
    assert all(error.kind == variant.tag for variant, error in converted)
    # Each limit, each repeated value and each error of the guard.
    assert len(converted) == len(members(errors)) - 3 + len(Limit) + len(Duplicate) + 5
