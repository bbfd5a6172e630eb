"""Replays the conformance vectors of the world `session-sync`."""

from __future__ import annotations

import json

import pytest

from clawdb_session import Component
from conversation import Conversation
from vectors import FOLDER, Vector, contains


def test_every_vector_of_the_world_gets_the_expected_answers(
    component: Component, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = []
    replayed = exchanges = 0
    for path in sorted(FOLDER.glob("*.jsonl")):
        vector = Vector.read(path)
        if not vector.runs_in("session-sync"):
            continue
        conversation = Conversation(component)
        mismatch = vector.replay(conversation)
        conversation.close()
        replayed += 1
        exchanges += len(vector.exchanges)
        if mismatch is not None:
            failed.append(mismatch)
    with capsys.disabled():
        print(f"\n{replayed} vectors with {exchanges} exchanges replayed, {len(failed)} failed")
    assert not failed, "\n".join(failed)
    # The numbers are in a file, so that no vector and no exchange is lost without notice.
    counts = json.loads((FOLDER / "COUNTS.json").read_text(encoding="utf-8"))["session-sync"]
    assert {"vectors": replayed, "exchanges": exchanges} == counts


def test_an_answer_with_more_fields_contains_the_expected_one_and_a_different_one_does_not() -> (
    None
):
    assert contains({"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"c": 2}]}, {})
    assert contains([1, 1], ["$x", "$x"], {})
    for answer, expected in [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": "$*"}),
        ({"ok": None}, {"err": {"kind": "conflict"}}),
        ([1, 2], [1]),
        ([1, 2], ["$x", "$x"]),
        (1, "1"),
        (True, 1),
        ([True, 1], ["$x", "$x"]),
    ]:
        assert not contains(answer, expected, {}), (answer, expected)
