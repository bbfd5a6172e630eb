"""The imports of the component: the guard, the clock and the source of random bytes of the host.

An exception in an import, or a value that wasmtime cannot convert, would end the instance and all
its sessions. So nothing that the guard, the clock or the random source does reaches wasmtime,
except `GuardBroken`.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from wasmtime import WasmtimeError
from wasmtime.component import Linker, Record, Variant

from . import _arguments
from ._arguments import type_name
from ._clock import SECOND, Clock
from ._values import guard_error_variant, issue_request, record
from .errors import InvalidArgument
from .guard import Claims, Guard, GuardBroken, GuardError, IssuedToken

Entropy = Callable[[int], bytes]
"""Returns this many random bytes that are fit for keys, as `os.urandom` does."""

LOGGER: Final = logging.getLogger("clawdb_session")

_MAX_ENTROPY: Final = 4_096
"""The most random bytes in one answer. The component asks again for the others."""
_MAX_REASON: Final = 1_024
"""The longest reason of the guard that the component gets, in characters."""

A = TypeVar("A")
T = TypeVar("T")


class Imports:
    """Answers the calls of an instance. No answer makes the instance trap by accident."""

    def __init__(self, guard: Guard, clock: Clock | None, entropy: Entropy | None) -> None:
        self._guard = guard
        self._clock = clock
        self._entropy = entropy
        self._validate_tokens = getattr(guard, "validate_tokens", None)
        self._revoke_tokens = getattr(guard, "revoke_tokens", None)
        self._guard_thread = 0
        """The thread in which a function of the guard runs, or 0."""
        self.interrupt: BaseException | None = None
        """`KeyboardInterrupt`, or another exception that is no error, to raise after the call."""
        self.broken: str | None = None
        """Why the guard has ended the instance."""

    def define(self, linker: Linker) -> None:
        """Adds the functions that the component imports to a linker.

        Without a clock or a random source, those of wasmtime are used. They are native code. A
        call of a function in Python takes longer than a call of the component.
        """
        functions: dict[str, dict[str, Callable[..., Any]]] = {
            "clawdb:session-sync/guard@0.1.0": {
                "issue-session-token": self._issue_session_token_import,
                "validate-token": self._validate_token_import,
                "validate-tokens": self._validate_tokens_import,
                "revoke-tokens": self._revoke_tokens_import,
            },
        }
        if self._clock is not None:
            now = partial(self._now_import, self._clock)
            functions["wasi:clocks/wall-clock@0.2.0"] = {"now": now}
        if self._entropy is not None:
            random_bytes = partial(self._random_bytes_import, self._entropy)
            functions["wasi:random/random@0.2.0"] = {"get-random-bytes": random_bytes}
        # The component cannot use what it does not import, and the store grants nothing.
        linker.add_wasip2()
        linker.allow_shadowing = True
        with linker.root() as root:
            for interface, members in functions.items():
                with root.add_instance(interface) as instance:
                    for name, function in members.items():
                        instance.add_func(name, function)

    def is_in_guard(self) -> bool:
        """Returns whether this thread runs a function of the guard, whose exceptions are caught."""
        return self._guard_thread == threading.get_ident()

    # wasmtime passes the store first. These functions do not need it.

    def _issue_session_token_import(self, _store: object, request: Record) -> Record | Variant:
        return self._ask(self._issue_session_token, request)

    def _validate_token_import(self, _store: object, token: str) -> Record | Variant:
        return self._ask(self._validate_token, token)

    def _validate_tokens_import(self, _store: object, tokens: list[str]) -> list[Record | Variant]:
        if self._validate_tokens is None:
            return self._one_by_one(self._validate_token, tokens)
        return self._ask_batch(self._validate_tokens, tokens, _claims)

    def _revoke_tokens_import(self, _store: object, handles: list[str]) -> list[Variant | None]:
        if self._revoke_tokens is None:
            return self._one_by_one(self._revoke_token, handles)
        return self._ask_batch(self._revoke_tokens, handles, _nothing)

    def _now_import(self, clock: Clock, _store: object) -> Record:
        try:
            # A reading before 1970 has failed too.
            now = max(0, _exact_int(clock()))
            seconds, nanoseconds = min(now // SECOND, _arguments.U64_MAX), now % SECOND
        except BaseException as error:
            self._failed("the clock failed", error)
            # The component counts a reading before 2020 as failed (R6).
            seconds, nanoseconds = 0, 0
        return record(seconds=seconds, nanoseconds=nanoseconds)

    def _random_bytes_import(self, entropy: Entropy, _store: object, count: int) -> bytes:
        wanted = min(count, _MAX_ENTROPY)
        try:
            given = entropy(wanted)
            if not isinstance(given, bytes):
                raise TypeError(f"the random source returned {type_name(given)} instead of bytes")
            return bytes(given)[:wanted]
        except BaseException as error:
            self._failed("the random source failed", error)
            # The component answers `entropy-unavailable`.
            return b""

    def _issue_session_token(self, request: Record) -> Record:
        issued = self._guard.issue_session_token(issue_request(request))
        if not isinstance(issued, IssuedToken):
            raise _wrong_answer("IssuedToken", issued)
        return record(
            token=_text(issued.token, "token"),
            handle=_text(issued.handle, "handle"),
            expires_at=_timestamp(issued.expires_at),
        )

    def _validate_token(self, token: str) -> Record:
        return _claims(self._guard.validate_token(token))

    def _revoke_token(self, handle: str) -> None:
        # A guard that no type checker has seen may return something, such as `False`.
        revoke: Callable[[str], object] = self._guard.revoke_token
        return _nothing(revoke(handle))

    def _ask(self, call: Callable[[A], T], argument: A) -> T | Variant:
        """Returns the result of a call of the guard, or its error."""
        try:
            self._guard_thread = threading.get_ident()
            try:
                return call(argument)
            finally:
                self._guard_thread = 0
        except BaseException as error:
            self._guard_thread = 0
            return self._guard_failed(error)

    def _one_by_one(self, call: Callable[[str], T], items: list[str]) -> list[T | Variant]:
        """Calls the guard for each item. After an `unavailable` the others get the same error."""
        results: list[T | Variant] = []
        for item in items:
            result = self._ask(call, item)
            results.append(result)
            if isinstance(result, Variant) and result.tag == "unavailable":
                results += [result] * (len(items) - len(results))
                break
        return results

    def _ask_batch(
        self,
        function: Callable[[Sequence[str]], object],
        items: list[str],
        convert: Callable[[object], T],
    ) -> list[T | Variant]:
        """Returns the guard's results for a batch, one for each item."""

        def call(items: list[str]) -> list[object]:
            results = function(tuple(items))
            if not isinstance(results, (list, tuple)):
                raise _wrong_answer("a list of results", results)
            # A very long list would not fit into the component's memory.
            if len(results) != len(items):
                given = f"{len(results)} results for {len(items)} items"
                raise _WrongAnswer(f"the guard gave {given}")
            return list(results)

        def convert_item(result: object) -> T:
            if isinstance(result, BaseException):
                raise result
            return convert(result)

        results = self._ask(call, items)
        if isinstance(results, Variant):
            return [results] * len(items)
        return [self._ask(convert_item, result) for result in results]

    def _guard_failed(self, error: BaseException) -> Variant:
        """Returns the error of a guard's function for the component."""
        try:
            if isinstance(error, GuardBroken):
                self.broken = "the guard is broken"
                self.broken += f": {_reason(str(error))}"
            elif isinstance(error, GuardError):
                variant = guard_error_variant(error)
                if variant is not None:
                    return Variant(variant.tag, _reason(variant.payload))
            self._failed("the guard failed", error)
            # The text of another exception may contain a token, so it is only logged.
            wrong = isinstance(error, _WrongAnswer)
            reason = str(error) if wrong else f"the guard raised {type_name(error)}"
        except BaseException as another:
            self._failed("the guard's error is not usable", another)
            reason = "the guard raised an error that is not usable"
        if isinstance(error, GuardBroken):
            # wasmtime passes this error on, and the instance ends.
            raise WasmtimeError("the guard is broken")
        return Variant("unavailable", _reason(reason))

    def _failed(self, what: str, error: BaseException) -> None:
        """Logs an exception. Keeps one that is not an error, such as `KeyboardInterrupt`."""
        if not isinstance(error, Exception):
            self.interrupt = error
            return
        try:
            LOGGER.error("%s", what, exc_info=error)
        except BaseException as another:
            # An error of the log's handler cannot be reported anywhere.
            if not isinstance(another, Exception):
                self.interrupt = another


class _WrongAnswer(Exception):
    """The guard answered something that the contract does not allow. The text has no value."""


def _wrong_answer(expected: str, answer: object) -> _WrongAnswer:
    if inspect.iscoroutine(answer):
        # It would warn that it was never awaited.
        answer.close()
    return _WrongAnswer(f"the guard returned {type_name(answer)} instead of {expected}")


def _claims(answer: object) -> Record:
    if not isinstance(answer, Claims):
        raise _wrong_answer("Claims", answer)
    return record(handle=_text(answer.handle, "handle"), expires_at=_timestamp(answer.expires_at))


def _nothing(answer: object) -> None:
    if answer is not None:
        raise _wrong_answer("None", answer)


def _text(value: object, name: str) -> str:
    try:
        return _arguments.text(value, name)
    except InvalidArgument as error:
        raise _WrongAnswer(f"the guard's {name} {error.reason}") from None


def _timestamp(value: object) -> int:
    try:
        return _arguments.u64(value, "expires_at")
    except InvalidArgument as error:
        raise _WrongAnswer(f"the guard's expires_at {error.reason}") from None


def _reason(value: object) -> str:
    """Returns a reason of the guard as valid Unicode of a bounded length."""
    if not isinstance(value, str):
        return "no reason given"
    return str.encode(value, errors="replace").decode()[:_MAX_REASON]


def _exact_int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"the clock returned {type_name(value)} instead of int")
    return int.__index__(value)
