"""Each operation of the world, as a method."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

import pytest

from clawdb_session import (
    AlreadyConfigured,
    AlreadyStarted,
    Change,
    ClockBehind,
    ClockNotBehind,
    Component,
    Config,
    Denial,
    EndReason,
    EventKind,
    Everything,
    GuardDenied,
    GuardRefused,
    GuardUnavailable,
    HmacGuard,
    InvalidArgument,
    InvalidToken,
    Limit,
    LimitReached,
    NoStateKey,
    Overflow,
    RefusedRecord,
    Role,
    Root,
    ScopeDenied,
    Session,
    SessionExpired,
    SessionNotFound,
    Sessions,
    to_datetime,
)
from conftest import AGENT, NO_SESSION, OTHER_AGENT
from controls import START, ControlledGuard, ManualClock

NOW = START // 1_000_000
KEY = bytes([7] * 32)


def test_a_session_has_what_was_requested(sessions: Sessions) -> None:
    grant = sessions.create(
        AGENT.upper(),
        "worker",
        ["b", "a", "b"],
        task_type="t",
        expires_in=60,
        metadata='{"n": 1}',
        max_uses=2,
    )
    created = grant.session
    assert created == Session(
        id=created.id,
        agent_id=AGENT,
        workspace_id=NO_SESSION.replace("4", "0").replace("8", "0"),
        role="worker",
        scopes=("b", "a"),
        task_type="t",
        created_at=NOW,
        expires_at=NOW + 60_000,
        metadata='{"n": 1}',
        parent=None,
        root=created.id,
        generation=0,
        uses_left=2,
    )
    assert sessions.get(created.id) == created
    assert sessions.validate(grant.token).uses_left == 1
    assert grant.token not in repr(grant)


def test_scopes_can_be_any_iterable(sessions: Sessions) -> None:
    for scopes in (["a", "b"], ("a", "b"), {"a": 1, "b": 2}, (c for c in "ab")):
        assert sessions.create(AGENT, "worker", scopes).session.scopes == ("a", "b")
    assert sessions.create(AGENT, "worker").session.scopes == ()


def test_a_delegated_session_ends_with_its_parent(sessions: Sessions) -> None:
    parent = sessions.create(AGENT, "worker", ["tool:*"], expires_in=60)
    child = sessions.delegate(
        parent.session.id, OTHER_AGENT, "helper", ["tool:search"], expires_in=900, max_uses=5
    )
    assert child.session.parent == child.session.root == parent.session.id
    assert child.session.expires_at == parent.session.expires_at
    with pytest.raises(ScopeDenied) as denied:
        sessions.delegate(parent.session.id, OTHER_AGENT, "helper", ["memory:read"])
    assert denied.value.scope == "memory:read"
    revocation = sessions.revoke(parent.session.id)
    assert (revocation.session_id, revocation.descendants) == (parent.session.id, 1)
    assert (revocation.guard_confirmed, revocation.guard_error) == (True, None)
    with pytest.raises(InvalidToken):
        sessions.validate(child.token)


def test_validate_many_returns_errors_in_place(sessions: Sessions) -> None:
    grant = sessions.create(AGENT, "worker")
    unknown, valid, long = sessions.validate_many(["unknown", grant.token, "t" * 8_193])
    assert isinstance(unknown, InvalidToken)
    assert valid == grant.session
    assert isinstance(long, InvalidArgument)
    assert sessions.validate_many([]) == []
    with pytest.raises(InvalidArgument) as refused:
        sessions.validate_many(["t"] * 257)
    assert refused.value.field == "tokens"


def test_authorize_checks_a_scope(sessions: Sessions) -> None:
    grant = sessions.create(AGENT, "worker", ["tool:*"])
    assert sessions.authorize(grant.token, "tool:search") == grant.session
    with pytest.raises(ScopeDenied, match="^scope-denied: memory:read$"):
        sessions.authorize(grant.token, "memory:read")


def test_rotate_and_refresh_replace_the_token(sessions: Sessions, clock: ManualClock) -> None:
    first = sessions.create(AGENT, "worker", expires_in=60)
    clock.advance(10)
    second = sessions.rotate(first.token)
    assert (second.session.generation, second.session.expires_at) == (1, NOW + 60_000)
    third = sessions.refresh(first.session.id)
    assert (third.session.generation, third.session.expires_at) == (2, NOW + 70_000)
    assert sessions.validate(third.token) == third.session
    with pytest.raises(InvalidToken):
        sessions.rotate(first.token)
    with pytest.raises(InvalidToken):
        sessions.validate(third.token)


def test_touch_restarts_the_idle_time(sessions: Sessions, clock: ManualClock) -> None:
    sessions.configure(Config(idle_timeout=10))
    session = sessions.create(AGENT, "worker").session
    for _ in range(3):
        clock.advance(9)
        sessions.touch(session.id)
    clock.advance(10)
    with pytest.raises(SessionExpired):
        sessions.touch(session.id)
    with pytest.raises(SessionNotFound):
        sessions.touch(NO_SESSION)


def test_a_revocation_that_the_guard_does_not_confirm_is_flushed_later(
    sessions: Sessions, guard: ControlledGuard
) -> None:
    grant = sessions.create(AGENT, "worker")
    other = sessions.create(AGENT, "worker")
    guard.set_mode("unavailable")
    revocation = sessions.revoke_by_token(grant.token)
    assert not revocation.guard_confirmed
    assert revocation.guard_error == GuardUnavailable("the guard was told to be unavailable")
    sessions.invalidate(other.session.id)
    assert sessions.stats().pending_revocations == 2
    guard.set_mode("ok")
    report = sessions.flush_guard_revocations()
    assert (report.settled, report.pending) == (2, 0)


def test_kill_switches_end_what_they_name(sessions: Sessions) -> None:
    def grants() -> list[str]:
        created = [sessions.create(AGENT, role) for role in ("reader", "writer", "writer")]
        return [grant.session.id for grant in created]

    ids = grants()
    assert sessions.revoke_all(Role("writer")) == 2
    assert sessions.revoke_all(Root(ids[0])) == 1
    grants()
    assert sessions.revoke_all_for_agent(OTHER_AGENT) == 0
    assert sessions.revoke_all_for_agent(AGENT) == 3
    grants()
    assert sessions.revoke_all(Everything()) == 3
    assert sessions.active_count() == 0


def test_a_listing_has_pages(sessions: Sessions) -> None:
    ids = [sessions.create(AGENT, "worker").session.id for _ in range(3)]
    first = sessions.list_for_agent(AGENT, limit=2)
    assert first.next is not None
    second = sessions.list_for_agent(AGENT, cursor=first.next)
    assert [session.id for session in first.sessions + second.sessions] == ids
    assert second.next is None
    assert sessions.list_for_agent(OTHER_AGENT).sessions == ()


def test_expired_sessions_are_pruned(sessions: Sessions, clock: ManualClock) -> None:
    for _ in range(3):
        sessions.create(AGENT, "worker", expires_in=60)
    clock.advance(60)
    assert sessions.active_count() == 0
    assert sessions.prune_expired(2) == 2
    assert sessions.prune_expired() == 1


def test_the_legacy_signatures_act_on_the_same_sessions(sessions: Sessions) -> None:
    grant = sessions.create_session(AGENT, "worker", ["a"], "task")
    assert sessions.get_session(grant.session.id) == grant.session
    assert sessions.validate(grant.token).task_type == "task"
    sessions.invalidate(grant.session.id)
    with pytest.raises(SessionNotFound):
        sessions.get_session(grant.session.id)


def test_events_have_a_kind_and_a_reason(sessions: Sessions, guard: ControlledGuard) -> None:
    grant = sessions.create(AGENT, "worker")
    sessions.rotate(grant.token)
    guard.set_mode("deny", on="validate")
    rotated = sessions.refresh(grant.session.id)
    with pytest.raises(GuardRefused) as refused:
        sessions.validate(rotated.token)
    assert refused.value.error == GuardDenied("the guard was told to deny")
    assert str(refused.value) == "guard: denied: the guard was told to deny"
    sessions.revoke(grant.session.id)
    page = sessions.poll_events(0)
    assert [(event.kind, event.reason) for event in page.events] == [
        (EventKind.CREATED, None),
        (EventKind.ROTATED, None),
        (EventKind.REFRESHED, None),
        (EventKind.DENIED, Denial.GUARD),
        (EventKind.ENDED, EndReason.REVOKED),
    ]
    assert [event.sequence for event in page.events] == [1, 2, 3, 4, 5]
    assert {event.run for event in page.events} == {page.run}
    assert (page.next, page.missed) == (5, 0)
    assert sessions.poll_events(5, 1).events == ()


def test_records_restore_the_sessions_in_another_instance(
    component: Component, guard: ControlledGuard, clock: ManualClock
) -> None:
    config = Config(state_key=KEY)
    assert KEY.hex() not in repr(config) and repr(KEY) not in repr(config)
    with Sessions(guard, component=component, clock=clock, config=config) as sessions:
        grant = sessions.create(AGENT, "worker")
        ended = sessions.create(AGENT, "worker")
        sessions.invalidate(ended.session.id)
        page = sessions.changes(0)
        assert (page.more, page.now) == (False, NOW)
        report = sessions.flush_stored_revocations(page.next)
        assert (report.settled, report.pending) == (1, 0)
        sessions.close_event_run()
        records = sessions.changes(0).changes
    new_key = Config(state_key=bytes(32), previous_state_keys=[KEY])
    with Sessions(guard, component=component, clock=clock, config=new_key) as another:
        forged = Change(records[0].sequence, records[0].key, records[0].value + " ")
        with pytest.raises(RefusedRecord) as refused:
            another.restore([forged])
        assert refused.value.key == forged.key
        another.restore(records)
        assert another.validate(grant.token) == grant.session
        with pytest.raises(InvalidToken):
            another.validate(ended.token)
        with pytest.raises(AlreadyStarted):
            another.restore(records)


def test_records_need_a_state_key(sessions: Sessions) -> None:
    with pytest.raises(NoStateKey):
        sessions.changes(0)
    with pytest.raises(NoStateKey):
        sessions.restore([])
    with pytest.raises(NoStateKey):
        sessions.close_event_run()
    with pytest.raises(NoStateKey):
        sessions.flush_stored_revocations(0)


LEAST = {
    "default_ttl": 1,
    "max_lifetime": 1,
    "max_sessions": 1,
    "max_sessions_per_agent": 1,
    "max_sessions_per_root": 1,
    "max_depth": 0,
    "rotation_grace": 0,
    "idle_timeout": 1,
    "guard_recheck_interval": 1,
    "clock_tolerance": 0,
    "event_capacity": 1,
    "max_state_bytes": 65_536,
}
"""The smallest value of each limit."""


def test_the_smallest_limits_are_accepted_and_take_effect(
    component: Component, guard: ControlledGuard
) -> None:
    limits: dict[str, Any] = {**LEAST, "max_sessions": 2}
    config = Config(workspace_id=AGENT, agent_overflow=Overflow.EVICT_OLDEST, **limits)
    with Sessions(guard, component=component, config=config) as sessions:
        first = sessions.create(AGENT, "worker").session
        assert first.workspace_id == AGENT
        assert first.expires_at - first.created_at == 1_000
        sessions.create(AGENT, "worker", expires_in=1)
        with pytest.raises(SessionNotFound):
            sessions.get(first.id)
        with pytest.raises(AlreadyConfigured):
            sessions.configure(Config())


@pytest.mark.parametrize("name", LEAST)
def test_each_limit_reaches_its_field(
    component: Component, guard: ControlledGuard, name: str
) -> None:
    outside: dict[str, Any] = {name: 1 if name == "max_state_bytes" else 2**32 - 1}
    with pytest.raises(InvalidArgument) as refused:
        Sessions(guard, component=component, config=Config(**outside))
    assert refused.value.field == name.replace("_", "-")


def test_limits_are_named(sessions: Sessions) -> None:
    sessions.configure(Config(max_sessions=1, max_depth=0))
    root = sessions.create(AGENT, "worker").session
    with pytest.raises(LimitReached) as reached:
        sessions.delegate(root.id, AGENT, "worker")
    assert reached.value.limit is Limit.MAX_DEPTH
    with pytest.raises(LimitReached, match="^limit-reached: max-sessions$"):
        sessions.create(AGENT, "worker")


def test_a_clock_that_was_ahead_is_accepted(sessions: Sessions, clock: ManualClock) -> None:
    sessions.create(AGENT, "worker")
    with pytest.raises(ClockNotBehind):
        sessions.accept_clock()
    clock.advance(-3_600)
    with pytest.raises(ClockBehind) as behind:
        sessions.create(AGENT, "worker")
    assert behind.value.lag == 3_600_000
    assert sessions.accept_clock() == 1
    assert sessions.stats().now == NOW - 3_600_000


def test_statistics_are_current(sessions: Sessions) -> None:
    grant = sessions.create(AGENT, "worker")
    sessions.rotate(grant.token)
    stats = sessions.stats()
    assert stats.version.count(".") == 2
    assert (stats.now, stats.clock_lag, stats.clock_behind) == (NOW, 0, False)
    assert (stats.live_sessions, stats.created, stats.rotated, stats.last_event) == (1, 1, 1, 2)
    assert stats.event_run != 0 and stats.state_bytes > 1_024


def test_a_time_can_be_read_as_a_datetime() -> None:
    assert to_datetime(NOW + 1) == datetime(2030, 1, 1, 0, 0, 0, 1_000, tzinfo=timezone.utc)
    latest = to_datetime(253_402_300_799_999)
    assert latest == datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=timezone.utc)


def test_the_machines_clock_and_random_source_are_the_default(component: Component) -> None:
    with Sessions(HmacGuard(bytes(32)), component=component) as sessions:
        before = time.time_ns() // 1_000_000
        grants = [sessions.create(AGENT, "worker") for _ in range(2)]
        after = time.time_ns() // 1_000_000
        assert all(before <= grant.session.created_at <= after for grant in grants)
        assert grants[0].session.id != grants[1].session.id
        assert sessions.validate(grants[0].token) == grants[0].session
