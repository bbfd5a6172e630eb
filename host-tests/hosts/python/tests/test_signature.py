"""The types that the package reads once, compared with those that wasmtime reads at each call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from wasmtime.component import ComponentInstanceType, Func, FuncType

from clawdb_session import Component, Config, HmacGuard, SessionError, Sessions
from clawdb_session._instance import FUNCTIONS
from conftest import AGENT, NO_SESSION
from controls import START, ControlledEntropy, ManualClock


def start(component: Component) -> Sessions:
    """Starts an instance whose answers are the same each time, except for tokens and ids."""
    clock = ManualClock(START)
    return Sessions(
        HmacGuard(bytes(32), clock=clock),
        component=component,
        clock=clock,
        entropy=ControlledEntropy(),
    )


def answers(sessions: Sessions) -> Iterator[Any]:
    """Calls operations with all kinds of values, and returns what does not change."""
    sessions.configure(
        Config(workspace_id=AGENT, state_key=bytes(32), previous_state_keys=[b"k" * 32])
    )
    grant = sessions.create(AGENT, "worker", ["a", "b"], task_type="t", max_uses=9)
    yield grant.session.scopes, grant.session.task_type, grant.session.parent
    yield sessions.validate(grant.token).uses_left
    yield [type(it) for it in sessions.validate_many([grant.token, "unknown"])]
    for call in (
        lambda: sessions.validate("unknown"),
        lambda: sessions.get(NO_SESSION),
        lambda: sessions.get("no id"),
        lambda: sessions.authorize(grant.token, "c"),
        lambda: sessions.delegate(grant.session.id, AGENT, "worker"),
    ):
        with pytest.raises(SessionError) as refused:
            call()
        yield type(refused.value), refused.value.args
    yield sessions.list_for_agent(AGENT, limit=1).next
    yield [(event.kind, event.reason) for event in sessions.poll_events(0).events]
    page = sessions.changes(0)
    yield [(change.sequence, change.forget_at) for change in page.changes], page.more
    revocation = sessions.revoke(grant.session.id)
    yield revocation.guard_confirmed, revocation.guard_error
    yield sessions.stats().ended


def test_kept_types_give_the_same_answers(component: Component) -> None:
    with start(component) as sessions:
        kept = list(answers(sessions))
    with start(component) as sessions:
        for function in sessions._instance.functions.values():
            # The method of the class again, which reads the type.
            del vars(function)["type"]
        assert list(answers(sessions)) == kept


def test_no_call_reads_a_type(component: Component, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(component) as sessions:

        def read(*_: object) -> FuncType:
            raise AssertionError

        monkeypatch.setattr(Func, "type", read)
        assert list(answers(sessions))


def test_the_operations_are_those_of_the_component(component: Component) -> None:
    found = {}
    for name, extern in component.compiled.type.exports(component.engine).items():
        interface = extern.ty
        assert isinstance(interface, ComponentInstanceType)
        members = interface.exports(component.engine).items()
        functions = {member for member, item in members if isinstance(item.ty, FuncType)}
        found[name.removeprefix("clawdb:session-sync/").removesuffix("@0.1.0")] = functions
    assert found == {interface: set(names) for interface, names in FUNCTIONS.items()}
    methods = {name.replace("-", "_") for names in FUNCTIONS.values() for name in names}
    assert all(callable(getattr(Sessions, method)) for method in methods)
