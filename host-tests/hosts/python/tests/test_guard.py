"""A guard that does anything: it never costs the instance its sessions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import pytest
from wasmtime import WasmtimeError

from clawdb_session import (
    Claims,
    Guard,
    GuardBroken,
    GuardDenied,
    GuardError,
    GuardExpired,
    GuardInvalidToken,
    GuardRefused,
    GuardRevoked,
    GuardUnavailable,
    HmacGuard,
    InvalidToken,
    IssuedToken,
    IssueRequest,
    Reentrant,
    Sessions,
    Trapped,
)
from conftest import AGENT
from controls import START, ManualClock

Start = Callable[[Guard], Sessions]
FAR = START // 1_000_000 + 10_000_000


@dataclass
class Replaceable:
    """A guard whose functions a test replaces. It has no batches."""

    inner: Guard
    issue: Callable[[IssueRequest], Any] | None = None
    validate: Callable[[str], Any] | None = None
    revoke: Callable[[str], Any] | None = None

    def issue_session_token(self, request: IssueRequest, /) -> IssuedToken:
        return cast(IssuedToken, (self.issue or self.inner.issue_session_token)(request))

    def validate_token(self, token: str, /) -> Claims:
        return cast(Claims, (self.validate or self.inner.validate_token)(token))

    def revoke_token(self, handle: str, /) -> None:
        return cast(None, (self.revoke or self.inner.revoke_token)(handle))


@dataclass
class Batches(Replaceable):
    """A guard with batches that a test replaces."""

    validate_all: Callable[[Sequence[str]], Any] | None = None
    revoke_all: Callable[[Sequence[str]], Any] | None = None

    def validate_tokens(self, tokens: Sequence[str], /) -> Sequence[Claims | GuardError]:
        assert self.validate_all is not None
        return cast(Sequence[Claims | GuardError], self.validate_all(tokens))

    def revoke_tokens(self, handles: Sequence[str], /) -> Sequence[GuardError | None]:
        assert self.revoke_all is not None
        return cast(Sequence[GuardError | None], self.revoke_all(handles))


@pytest.fixture
def replaceable(clock: ManualClock) -> Replaceable:
    """Returns a guard whose functions work until a test replaces them."""
    return Replaceable(HmacGuard(bytes(32), clock=clock))


@pytest.fixture
def batches(clock: ManualClock) -> Batches:
    """Returns a guard whose batches a test replaces."""
    return Batches(HmacGuard(bytes(32), clock=clock))


def returns(value: object) -> Callable[[object], object]:
    """Returns a function that returns the value."""
    return lambda _: value


def raises(error: BaseException | type[BaseException]) -> Callable[[object], NoReturn]:
    """Returns a function that raises the error."""

    def function(_: object) -> NoReturn:
        raise error

    return function


class Text(str):
    """A text that cannot be encoded by its own method."""

    def encode(self, *_: object, **__: object) -> bytes:
        raise AssertionError


class Unprintable(Exception):
    """An error whose text is another error."""

    def __str__(self) -> str:
        raise RuntimeError


class UnknownCase(GuardError):
    """An error that is no case of the contract."""

    kind = "unknown-case"


class LyingClaims(Claims):
    """Claims whose handle cannot be read."""

    def __getattribute__(self, name: str) -> Any:
        if name == "handle":
            raise KeyError
        return super().__getattribute__(name)


async def coroutine() -> None:
    """Is never awaited."""


class Interrupting(GuardDenied):
    """An error whose reason raises `KeyboardInterrupt`."""

    def __init__(self) -> None:
        Exception.__init__(self)

    @property
    def reason(self) -> str:  # type: ignore[override]
        raise KeyboardInterrupt


NONSENSE: list[object] = [
    None,
    True,
    7,
    "token",
    b"token",
    {"handle": "handle", "expires_at": FAR},
    ("handle", FAR),
    object(),
    GuardDenied("returned, not raised"),
    Claims,
]

BAD_CLAIMS: list[object] = [
    Claims(cast(str, None), FAR),
    Claims(cast(str, b"handle"), FAR),
    Claims("\ud800", FAR),
    Claims("h" * (2**20 + 1), FAR),
    Claims("handle", -1),
    Claims("handle", 2**64),
    Claims("handle", True),
    Claims("handle", cast(int, 1.5)),
    Claims("handle", cast(int, "7")),
    LyingClaims("handle", FAR),
]

BAD_TOKENS: list[object] = [
    IssuedToken(cast(str, None), "handle", FAR),
    IssuedToken("\udfff", "handle", FAR),
    IssuedToken("t" * (2**20 + 1), "handle", FAR),
    IssuedToken("token", cast(str, 7), FAR),
    IssuedToken("token", "handle", 2**64),
    IssuedToken("token", "handle", cast(int, None)),
    Claims("handle", FAR),
]

RAISED: list[BaseException | type[BaseException]] = [
    ValueError("secret"),
    ValueError("secret\ud800"),
    AssertionError,
    RecursionError,
    MemoryError,
    StopIteration,
    Unprintable("secret"),
    UnknownCase("secret"),
    GuardDenied,  # Without its argument: a `TypeError`.
    BaseException("secret"),
]


def unavailable(call: Callable[[], object]) -> str:
    """Returns the reason of a call that the guard makes unavailable. It has no secret."""
    with pytest.raises(GuardRefused) as refused:
        call()
    assert isinstance(refused.value.error, GuardUnavailable)
    assert "secret" not in str(refused.value)
    return str(refused.value.error.reason)


@pytest.mark.parametrize("answer", [*NONSENSE, *BAD_TOKENS])
def test_a_wrong_issued_token_is_unavailable(
    start: Start, replaceable: Replaceable, answer: object
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.issue = returns(answer)
    assert unavailable(lambda: sessions.create(AGENT, "worker")).startswith("the guard")
    unavailable(lambda: sessions.refresh(grant.session.id))
    assert sessions.validate(grant.token) == grant.session
    assert sessions.active_count() == 1


@pytest.mark.parametrize("answer", [*NONSENSE, *BAD_CLAIMS])
def test_wrong_claims_are_unavailable(
    start: Start, replaceable: Replaceable, answer: object
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.validate = returns(answer)
    assert unavailable(lambda: sessions.validate(grant.token)).startswith("the guard")
    (result,) = sessions.validate_many([grant.token])
    assert isinstance(result, GuardRefused) and isinstance(result.error, GuardUnavailable)
    replaceable.validate = None
    assert sessions.validate(grant.token) == grant.session


@pytest.mark.parametrize("answer", [it for it in NONSENSE if it is not None])
def test_a_revocation_that_returns_something_stays_pending(
    start: Start, replaceable: Replaceable, answer: object
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.revoke = returns(answer)
    revocation = sessions.revoke(grant.session.id)
    assert not revocation.guard_confirmed
    assert isinstance(revocation.guard_error, GuardUnavailable)
    replaceable.revoke = None
    assert sessions.flush_guard_revocations().settled == 1


@pytest.mark.parametrize("error", RAISED)
def test_an_exception_is_unavailable(
    start: Start, replaceable: Replaceable, error: BaseException | type[BaseException]
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.issue = replaceable.validate = replaceable.revoke = raises(error)
    if isinstance(error, BaseException) and not isinstance(error, Exception):
        # It is no error, so it leaves the call, as `KeyboardInterrupt` does.
        for call in (sessions.create, sessions.revoke_all_for_agent):
            with pytest.raises(BaseException, match="secret"):
                call(AGENT, *(["worker"] if call == sessions.create else []))
        assert sessions.active_count() == 0
        return
    unavailable(lambda: sessions.create(AGENT, "worker"))
    unavailable(lambda: sessions.validate(grant.token))
    revocation = sessions.revoke(grant.session.id)
    assert isinstance(revocation.guard_error, GuardUnavailable)
    assert sessions.stats().pending_revocations == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_leaves_the_call_when_the_operation_has_ended(
    start: Start, replaceable: Replaceable, error: type[BaseException]
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.validate = raises(error)
    with pytest.raises(error):
        sessions.validate(grant.token)
    replaceable.validate = None
    assert sessions.validate(grant.token) == grant.session
    replaceable.validate = raises(Interrupting())
    with pytest.raises(KeyboardInterrupt):
        sessions.validate(grant.token)
    replaceable.revoke = raises(error)
    with pytest.raises(error):
        sessions.revoke(grant.session.id)
    assert sessions.active_count() == 0
    assert sessions.ended is None


def test_each_case_reaches_the_caller(start: Start, replaceable: Replaceable) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    for error in (
        GuardInvalidToken(),
        GuardExpired(),
        GuardRevoked(),
        GuardDenied("not for you"),
        GuardUnavailable("the network is down"),
    ):
        replaceable.validate = raises(error)
        with pytest.raises(GuardRefused) as refused:
            sessions.validate(grant.token)
        assert refused.value.error == error
        assert type(refused.value.error) is type(error)
        assert str(refused.value) == f"guard: {error}"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (GuardDenied("\ud800?"), "??"),
        (GuardDenied("r" * 2_000), "r" * 1_024),
        (GuardDenied(Text("own encode")), "own encode"),
        (GuardDenied(cast(str, 7)), "no reason given"),
    ],
)
def test_a_reason_is_made_valid(
    start: Start, replaceable: Replaceable, given: GuardError, reason: str
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.validate = raises(given)
    with pytest.raises(GuardRefused) as refused:
        sessions.validate(grant.token)
    assert refused.value.error == GuardDenied(reason)


def test_a_coroutine_is_no_answer_and_leaves_no_warning(
    start: Start, replaceable: Replaceable
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.validate = lambda _: coroutine()
    assert "coroutine instead of Claims" in unavailable(lambda: sessions.validate(grant.token))


def test_subclasses_of_the_answers_are_accepted(start: Start, replaceable: Replaceable) -> None:
    class MyToken(IssuedToken):
        pass

    class MyInt(int):
        pass

    sessions = start(replaceable)
    replaceable.issue = returns(MyToken(Text("token"), Text("handle"), MyInt(FAR)))
    replaceable.validate = returns(Claims(Text("handle"), MyInt(FAR)))
    grant = sessions.create(AGENT, "worker")
    assert grant.token == "token"
    assert sessions.validate("token") == grant.session


def test_an_exception_is_logged_with_its_traceback(
    start: Start, replaceable: Replaceable, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.validate = raises(ValueError("what the guard says"))
    unavailable(lambda: sessions.validate(grant.token))
    (entry,) = caplog.records
    assert (entry.name, entry.levelname) == ("clawdb_session", "ERROR")
    assert "what the guard says" in caplog.text and "raise error" in caplog.text
    caplog.clear()
    # The cases of the contract are answers, not faults.
    replaceable.validate = raises(GuardExpired())
    with pytest.raises(GuardRefused):
        sessions.validate(grant.token)
    assert not caplog.records


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_log_that_fails_does_not_end_the_instance(
    start: Start, replaceable: Replaceable, error: type[BaseException]
) -> None:
    class Handler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> NoReturn:
            raise error

    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    replaceable.validate = raises(ValueError)
    handler = Handler()
    logging.getLogger("clawdb_session").addHandler(handler)
    try:
        with pytest.raises(GuardRefused if error is RuntimeError else error):
            sessions.validate(grant.token)
    finally:
        logging.getLogger("clawdb_session").removeHandler(handler)
    replaceable.validate = None
    assert sessions.validate(grant.token) == grant.session


def test_a_guard_that_calls_its_instance_gets_an_error(
    start: Start, replaceable: Replaceable
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    seen = []

    def call_back(token: str) -> Claims:
        for call in (sessions.active_count, lambda: sessions.revoke(grant.session.id)):
            try:
                call()
            except Reentrant as error:
                seen.append(error)
        sessions.validate(token)
        raise AssertionError

    replaceable.validate = call_back
    assert "Reentrant" in unavailable(lambda: sessions.validate(grant.token))
    assert len(seen) == 2
    replaceable.validate = None
    assert sessions.validate(grant.token) == grant.session


def test_a_guard_can_call_another_instance(start: Start, replaceable: Replaceable) -> None:
    other = start(Replaceable(replaceable.inner))
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    vouched = other.create(AGENT, "voucher")

    def ask_other(token: str) -> Claims:
        other.validate(vouched.token)
        return replaceable.inner.validate_token(token)

    replaceable.validate = ask_other
    assert sessions.validate(grant.token) == grant.session


def test_only_a_broken_guard_ends_the_instance(start: Start, replaceable: Replaceable) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    # wasmtime's own error is one like any other.
    replaceable.validate = raises(WasmtimeError("not from here"))
    unavailable(lambda: sessions.validate(grant.token))
    replaceable.validate = raises(GuardBroken("the key is gone"))
    with pytest.raises(Trapped, match="trapped: the guard is broken: the key is gone$"):
        sessions.validate(grant.token)
    with pytest.raises(Trapped, match="the key is gone$"):
        sessions.active_count()


def test_the_end_by_a_broken_guard_needs_no_text(start: Start, replaceable: Replaceable) -> None:
    class Silent(Unprintable, GuardBroken):
        pass

    sessions = start(replaceable)
    replaceable.issue = raises(Silent())
    with pytest.raises(Trapped, match="trapped: the guard is broken$"):
        sessions.create(AGENT, "worker")


def test_many_failures_in_a_row_leave_the_instance_as_it_was(
    start: Start, replaceable: Replaceable
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")
    logging.getLogger("clawdb_session").disabled = True
    try:
        for i in range(1_000):
            replaceable.validate = raises(ValueError) if i % 2 else returns(None)
            with pytest.raises(GuardRefused):
                sessions.validate(grant.token)
    finally:
        logging.getLogger("clawdb_session").disabled = False
    replaceable.validate = None
    assert sessions.validate(grant.token) == grant.session


def test_without_batches_the_single_functions_are_called_until_one_is_unavailable(
    start: Start, replaceable: Replaceable
) -> None:
    sessions = start(replaceable)
    tokens = [sessions.create(AGENT, "worker").token for _ in range(4)]
    asked = []

    def validate(token: str) -> Claims:
        asked.append(token)
        if len(asked) == 2:
            raise GuardDenied("no")
        if len(asked) == 3:
            raise GuardUnavailable("down")
        return replaceable.inner.validate_token(token)

    replaceable.validate = validate
    first, *others = sessions.validate_many(tokens)
    assert not isinstance(first, GuardRefused)
    errors = [it.error for it in others if isinstance(it, GuardRefused)]
    assert errors == [GuardDenied("no"), GuardUnavailable("down"), GuardUnavailable("down")]
    assert asked == tokens[:3]


@pytest.mark.parametrize(
    "answer",
    [
        *NONSENSE,
        [],
        [Claims("handle", FAR)],
        [Claims("handle", FAR)] * 3,
        iter([Claims("handle", FAR)] * 2),
        {Claims("handle", FAR): 1},
        [None] * 100_000,
    ],
)
def test_a_wrong_batch_is_unavailable_for_each_item(
    start: Start, batches: Batches, answer: object
) -> None:
    sessions = start(batches)
    tokens = [sessions.create(AGENT, "worker").token for _ in range(2)]
    batches.validate_all = batches.revoke_all = returns(answer)
    for result in sessions.validate_many(tokens):
        assert isinstance(result, GuardRefused) and isinstance(result.error, GuardUnavailable)
    assert sessions.revoke_all_for_agent(AGENT) == 2
    assert sessions.flush_guard_revocations().pending == 2
    batches.revoke_all = lambda handles: (None,) * len(handles)
    sessions.flush_guard_revocations()
    assert sessions.flush_guard_revocations().pending == 0


def test_a_batch_has_a_result_for_each_item(start: Start, batches: Batches) -> None:
    sessions = start(batches)
    grants = [sessions.create(AGENT, "worker") for _ in range(5)]

    def validate(tokens: Sequence[str]) -> list[object]:
        assert isinstance(tokens, tuple) and len(tokens) == 5
        valid = batches.inner.validate_token(tokens[0])
        return [valid, GuardExpired(), ValueError("secret"), "nonsense", UnknownCase()]

    batches.validate_all = validate
    first, *others = sessions.validate_many(grant.token for grant in grants)
    assert first == grants[0].session
    errors = [it.error for it in others if isinstance(it, GuardRefused)]
    assert errors[0] == GuardExpired()
    assert [type(error) for error in errors[1:]] == [GuardUnavailable] * 3
    batches.revoke_all = lambda handles: [GuardDenied("no"), GuardRevoked(), None, None, False]
    assert sessions.revoke_all_for_agent(AGENT) == 5
    assert sessions.stats().pending_revocations == 2


def test_a_batch_that_raises_gives_its_error_to_each_item(start: Start, batches: Batches) -> None:
    sessions = start(batches)
    tokens = [sessions.create(AGENT, "worker").token for _ in range(2)]
    batches.validate_all = raises(GuardDenied("all of you"))
    for result in sessions.validate_many(tokens):
        assert isinstance(result, GuardRefused) and result.error == GuardDenied("all of you")
    batches.validate_all = raises(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        sessions.validate_many(tokens)
    assert sessions.active_count() == 2
    batches.validate_all = raises(GuardBroken("gone"))
    with pytest.raises(Trapped):
        sessions.validate_many(tokens)


def test_a_token_that_is_too_long_is_revoked(start: Start, replaceable: Replaceable) -> None:
    sessions = start(replaceable)
    revoked: list[str] = []
    replaceable.issue = returns(IssuedToken("t" * 8_193, "handle", FAR))
    replaceable.revoke = revoked.append
    unavailable(lambda: sessions.create(AGENT, "worker"))
    assert revoked == ["handle"]


def test_a_call_near_the_recursion_limit_raises_and_keeps_the_sessions(
    start: Start, replaceable: Replaceable
) -> None:
    sessions = start(replaceable)
    grant = sessions.create(AGENT, "worker")

    def call_at_each_depth() -> None:
        sessions.validate(grant.token)
        call_at_each_depth()

    with pytest.raises(RecursionError):
        call_at_each_depth()
    assert sessions.ended is None
    assert sessions.validate(grant.token) == grant.session
    with pytest.raises(InvalidToken):
        sessions.validate("unknown")
