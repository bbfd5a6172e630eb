"""Replays the conformance vectors of the world `session-sync`."""

from __future__ import annotations

import pytest

from clawdb_session import Component
from conversation import Conversation
from vectors import FOLDER, Vector, contains


def test_every_vector_of_the_world_gets_the_expected_answers(
    component: Component, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = []
    replayed = 0
    for path in sorted(FOLDER.glob("*.jsonl")):
        vector = Vector.read(path)
        if not vector.runs_in("session-sync"):
            continue
        conversation = Conversation(component)
        mismatch = vector.replay(conversation)
        conversation.close()
        replayed += 1
        if mismatch is not None:
            failed.append(mismatch)
    with capsys.disabled():
        print(f"\n{replayed} vectors replayed, {len(failed)} failed")
    assert not failed, "\n".join(failed)
    # Counted by their text, so that no vector is left out without notice.
    heads = [path.read_text().partition("\n")[0] for path in FOLDER.glob("*.jsonl")]
    assert replayed == sum('"world": "session"' not in head for head in heads)
    assert replayed >= 51


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
