"""Checks arguments before they are passed to the component.

wasmtime does not check the range of integers, and a value that it cannot convert is an exception
of its own. The component's memory holds an argument before the component can check it, so larger
texts are refused here. An error never contains the value, which may be a token (R22).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from .errors import InvalidArgument

U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1

MAX_BYTES = 1 << 20
"""The most bytes of an argument, with two exceptions."""
MAX_TOKENS_BYTES = 16 << 20
"""The most bytes of tokens in one `validate_many`."""
MAX_RECORDS_BYTES = 16 << 20
"""The most bytes of records in one `restore`."""


def integer(value: object, field: str, largest: int) -> int:
    """Returns the value if it is a whole number from 0 to `largest`."""
    # `True` is an `int` for Python, but a mistake here.
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgument(field, f"must be an int, not {type_name(value)}")
    number = int.__index__(value)
    if not 0 <= number <= largest:
        raise InvalidArgument(field, f"must be from 0 to {largest}")
    return number


def u32(value: object, field: str) -> int:
    """Returns the value if it fits into a `u32`."""
    return integer(value, field, U32_MAX)


def u64(value: object, field: str) -> int:
    """Returns the value if it fits into a `u64`."""
    return integer(value, field, U64_MAX)


def optional_u32(value: object, field: str) -> int | None:
    """Returns the value if it is `None` or fits into a `u32`."""
    return None if value is None else u32(value, field)


def optional_u64(value: object, field: str) -> int | None:
    """Returns the value if it is `None` or fits into a `u64`."""
    return None if value is None else u64(value, field)


def _encoded(value: object, field: str) -> bytes:
    """Returns the UTF-8 of a text."""
    if not isinstance(value, str):
        raise InvalidArgument(field, f"must be a str, not {type_name(value)}")
    try:
        return str.encode(value)
    except UnicodeEncodeError:
        pass
    # Raised here, because Python would attach the text to an error that is raised above.
    raise InvalidArgument(field, "must be Unicode without lone surrogates")


def text(value: object, field: str) -> str:
    """Returns the value if it is Unicode text of an acceptable size."""
    data = _encoded(value, field)
    _check_size(len(data), field, MAX_BYTES)
    return data.decode()


def optional_text(value: object, field: str) -> str | None:
    """Returns the value if it is `None` or Unicode text of an acceptable size."""
    return None if value is None else text(value, field)


def texts(values: object, field: str, most: int = MAX_BYTES) -> list[str]:
    """Returns the values of an iterable if they are Unicode texts of an acceptable size."""
    # A text is an iterable of texts, but a mistake here.
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgument(field, f"must be an iterable of str, not {type_name(values)}")
    checked = []
    size = 0
    for value in values:
        data = _encoded(value, field)
        # A list has a pointer and a length of 8 bytes for each text.
        size += len(data) + 8
        _check_size(size, field, most)
        checked.append(data.decode())
    return checked


def keys(state_key: object, previous: object) -> tuple[bytes | None, list[bytes]]:
    """Returns the keys of records if they are bytes of an acceptable size."""
    if isinstance(previous, (str, bytes, bytearray)) or not isinstance(previous, Iterable):
        reason = f"must be an iterable of bytes, not {type_name(previous)}"
        raise InvalidArgument("previous-state-keys", reason)
    current = None if state_key is None else _bytes(state_key, "state-key")
    earlier = [_bytes(key, "previous-state-keys") for key in previous]
    _check_size(sum(map(len, chain(earlier, [current or b""]))), "state-key", MAX_BYTES)
    return current, earlier


def _bytes(value: object, field: str) -> bytes:
    if not isinstance(value, (bytes, bytearray)):
        raise InvalidArgument(field, f"must be bytes, not {type_name(value)}")
    return bytes(value)


def check_records_size(size: int) -> None:
    """Refuses records of one `restore` that are too large together."""
    _check_size(size, "changes", MAX_RECORDS_BYTES)


def _check_size(size: int, field: str, most: int) -> None:
    if size > most:
        reason = f"has {size} bytes or more, and the host accepts at most {most} bytes"
        raise InvalidArgument(field, reason)


def type_name(value: object) -> str:
    """Returns the name of the type of a value."""
    return type(value).__name__
