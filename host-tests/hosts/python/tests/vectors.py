"""Reads the conformance vectors and compares answers. Their README describes the format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from conversation import Conversation, Json

FOLDER = Path(__file__).parents[3] / "vectors"


@dataclass(frozen=True)
class Vector:
    """A conversation and the answers that it must get."""

    file: str
    head: dict[str, Json]
    exchanges: list[dict[str, Json]]

    @staticmethod
    def read(path: Path) -> Vector:
        """Reads a file."""
        head, *exchanges = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return Vector(path.name, head, exchanges)

    def runs_in(self, world: str) -> bool:
        """Returns whether the vector can run in a world."""
        return bool(self.head.get("world", world) == world)

    def replay(self, conversation: Conversation) -> str | None:
        """Compares the answers. Returns the first mismatch as text."""
        names: dict[str, Json] = {}
        for line, exchange in enumerate(self.exchanges, start=2):
            sent = filled_in(exchange["send"], names)
            answer = conversation.answer(sent)
            if not contains(answer, exchange["expect"], names):
                expected = filled_in(exchange["expect"], names)
                return (
                    f"{self.file}:{line}\n  sent     {json.dumps(sent)}\n"
                    f"  answer   {json.dumps(answer)}\n  expected {json.dumps(expected)}"
                )
        return None


def is_name(value: Json) -> bool:
    """Returns whether a value stands for the value of a name."""
    return isinstance(value, str) and value.startswith("$") and value != "$*"


def filled_in(value: Json, names: dict[str, Json]) -> Json:
    """Returns the value with names replaced by their values."""
    if is_name(value):
        return names.get(value, value)
    if isinstance(value, list):
        return [filled_in(item, names) for item in value]
    if isinstance(value, dict):
        return {name: filled_in(item, names) for name, item in value.items()}
    return value


def contains(answer: Json, expected: Json, names: dict[str, Json]) -> bool:
    """Returns whether an answer contains the expected value. Gives new names their values."""
    if expected == "$*":
        return True
    if is_name(expected):
        return is_equal(names.setdefault(expected, answer), answer)
    if isinstance(expected, dict) and isinstance(answer, dict):
        return all(
            name in answer and contains(answer[name], value, names)
            for name, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(answer, list):
        return len(expected) == len(answer) and all(
            contains(item, wanted, names) for item, wanted in zip(answer, expected)
        )
    return is_equal(answer, expected)


def is_equal(one: Json, other: Json) -> bool:
    """Returns whether two values are equal as JSON: for Python, `True` equals 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
