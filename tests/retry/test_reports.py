"""What the hook, the log and the note on the exception say."""

import asyncio
import copy
import functools
import logging
import pickle
from typing import Any

import pytest
from dike_retry import FailedAttempt, retry

FIELDS = ("function", "attempt", "delay", "exception_type")


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dike")


async def hang() -> None:
    await asyncio.sleep(1000)


async def test_the_hook_is_called_after_each_failed_attempt_and_on_giving_up() -> None:
    failed: list[FailedAttempt] = []
    errors = [KeyError(1), KeyError(2), KeyError(3)]
    left = iter(errors)

    @retry(attempts=3, delay=1, backoff=2, on_failure=failed.append)
    async def func() -> None:
        await asyncio.sleep(0.5)
        raise next(left)

    with pytest.raises(KeyError):
        await func()
    name = "test_the_hook_is_called_after_each_failed_attempt_and_on_giving_up.<locals>.func"
    assert failed == [
        FailedAttempt(function=name, attempt=1, exception=errors[0], delay=1, elapsed=0.5, gave_up=None),
        FailedAttempt(function=name, attempt=2, exception=errors[1], delay=2, elapsed=2.0, gave_up=None),
        FailedAttempt(function=name, attempt=3, exception=errors[2], delay=None, elapsed=4.5, gave_up="attempts"),
    ]


async def test_the_hook_hears_of_an_attempt_cut_by_the_deadline() -> None:
    failed: list[FailedAttempt] = []
    calls = 0

    @retry(timeout=3, delay=1, exception_types=KeyError, retry_if=lambda exc: True, on_failure=failed.append)
    async def func() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError
        await hang()

    with pytest.raises(TimeoutError) as info:
        await func()
    assert [(each.attempt, each.delay, each.elapsed, each.gave_up) for each in failed] == [
        (1, 1, 0, None),
        (2, None, 3, "timeout"),
    ]
    assert failed[1].exception is info.value


async def test_the_hook_hears_nothing_of_what_is_not_judged(script: Any) -> None:
    failed: list[FailedAttempt] = []
    call = retry(exception_types=KeyError, on_failure=failed.append)
    assert await call(script("done"))() == "done"
    for error in (ConnectionError(), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            await call(script(error))()
    assert not failed


async def test_a_failed_attempt_cannot_be_changed(script: Any) -> None:
    failed: list[Any] = []
    await retry(on_failure=failed.append)(script(KeyError(), "done"))()
    for name in ("function", "attempt", "exception", "delay", "elapsed", "gave_up", "other"):
        with pytest.raises(AttributeError):
            setattr(failed[0], name, None)


def test_a_failed_attempt_can_be_copied_and_pickled() -> None:
    attempt = FailedAttempt("f", 1, KeyError("key"), 0.5, 1.5, None)
    assert copy.copy(attempt) == attempt
    assert repr(pickle.loads(pickle.dumps(attempt))) == repr(attempt)


async def test_an_exception_of_the_hook_is_logged_and_ignored(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken(attempt: FailedAttempt) -> None:
        raise ZeroDivisionError

    with pytest.raises(KeyError) as info:
        await retry(attempts=2, on_failure=broken)(script(KeyError(), KeyError()))()
    assert info.value.__context__ is None
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [(record.name, record.getMessage()) for record in errors] == [
        ("dike", "Ignored an exception in on_failure")
    ] * 2
    assert errors[0].exc_info is not None
    assert errors[0].exc_info[0] is ZeroDivisionError


async def test_other_than_an_exception_of_the_hook_comes_out(script: Any) -> None:
    class Stop(BaseException):
        pass

    def stop(attempt: FailedAttempt) -> None:
        raise Stop

    with pytest.raises(Stop):
        await retry(on_failure=stop)(script(KeyError()))()


async def test_a_retry_is_logged_with_fields(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    await retry(delay=1, backoff=2)(script(KeyError(), ConnectionError(), "done"))("secret", key="secret")
    assert [[vars(record)[field] for field in FIELDS] for record in caplog.records] == [
        ["Script", 1, 1.0, "KeyError"],
        ["Script", 2, 2.0, "ConnectionError"],
    ]
    assert not any(hasattr(record, "gave_up") for record in caplog.records)
    assert not any("secret" in str(vars(record)) for record in caplog.records)


async def test_giving_up_after_a_retry_is_logged_with_fields(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError):
        await retry(attempts=2, delay=1)(script(KeyError(), KeyError("last")))()
    record = caplog.records[-1]
    assert (record.name, record.levelno) == ("dike", logging.INFO)
    assert record.getMessage() == "gave up on Script after 2 attempts (attempts): KeyError('last')"
    assert [vars(record)[field] for field in (*FIELDS, "gave_up")] == ["Script", 2, None, "KeyError", "attempts"]
    assert record.exc_info is None


async def test_giving_up_at_the_first_attempt_is_neither_logged_nor_noted(
    script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    error = KeyError()
    with pytest.raises(KeyError):
        await retry(attempts=1)(script(error))()
    assert not caplog.records
    assert not hasattr(error, "__notes__")


async def test_a_note_tells_that_there_were_retries(script: Any) -> None:
    first, last = KeyError(), KeyError()
    with pytest.raises(KeyError):
        await retry(attempts=2)(script(first, last))()
    assert not hasattr(first, "__notes__")
    assert last.__notes__ == ["gave up on Script after 2 attempts (attempts)"]


async def test_the_timeout_error_of_the_deadline_gets_a_note_too(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    @retry(timeout=2, delay=1)
    async def func() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError
        await hang()

    with pytest.raises(TimeoutError) as info:
        await func()
    assert [note.rpartition(".")[2] for note in info.value.__notes__] == [
        "func after 2 attempts (timeout)",
    ]
    assert (caplog.records[-1].levelno, vars(caplog.records[-1])["gave_up"]) == (logging.INFO, "timeout")


async def test_the_same_note_is_not_put_twice_on_one_exception(script: Any) -> None:
    error = KeyError()
    error.add_note("mine")
    for _ in range(2):
        with pytest.raises(KeyError):
            await retry(attempts=2)(script(KeyError(), error))()
    with pytest.raises(KeyError):
        await retry(attempts=3)(script(KeyError(), KeyError(), error))()
    assert error.__notes__ == [
        "mine",
        "gave up on Script after 2 attempts (attempts)",
        "gave up on Script after 3 attempts (attempts)",
    ]


class TakesNoNote(Exception):  # noqa: N818
    def add_note(self, note: str, /) -> None:
        raise RuntimeError("no notes")


class BrokenNotes(Exception):  # noqa: N818
    __notes__: Any = 5


class Frozen(Exception):  # noqa: N818
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


@pytest.mark.parametrize("kind", [TakesNoNote, BrokenNotes, Frozen])
async def test_an_exception_that_takes_no_note_does_no_harm(script: Any, kind: type[Exception]) -> None:
    errors = [kind(), kind()]
    with pytest.raises(kind) as info:
        await retry(attempts=2)(script(*errors))()
    assert info.value is errors[1]


class BrokenRepr(Exception):  # noqa: N818
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


async def test_a_broken_repr_does_no_harm(
    script: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = [BrokenRepr(), BrokenRepr()]
    with pytest.raises(BrokenRepr) as info:
        await retry(attempts=2)(script(*errors))()
    assert info.value is errors[1]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert f"BrokenRepr object at {id(errors[0]):#x}" in caplog.records[0].getMessage()
    assert "Logging error" not in capsys.readouterr().err


async def test_the_log_shows_the_traceback_of_an_exception_that_counts_as_false(
    script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class NoErrors(Exception):  # noqa: N818
        def __len__(self) -> int:
            return 0

    error = NoErrors()
    await retry()(script(error, "done"))()
    assert caplog.records[0].exc_info == (NoErrors, error, error.__traceback__)


@pytest.mark.parametrize("level", [logging.ERROR, logging.CRITICAL])
async def test_nothing_is_written_for_a_log_that_is_off(
    script: Any, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    class Counted(Exception):  # noqa: N818
        shown = 0

        def __repr__(self) -> str:
            Counted.shown += 1
            return ""

    caplog.set_level(level, "dike")
    with pytest.raises(Counted):
        await retry(attempts=3)(script(Counted(), Counted(), Counted()))()
    assert Counted.shown == 0


class Service:
    @retry(attempts=2)
    async def method(self) -> None:
        raise KeyError

    @classmethod
    @retry(attempts=2)
    async def class_method(cls) -> None:
        raise KeyError


async def plain() -> None:
    raise KeyError


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Service().method, "Service.method"),
        (Service.class_method, "Service.class_method"),
        (retry(attempts=2)(plain), "plain"),
        (retry(attempts=2)(functools.partial(functools.partial(plain))), "plain"),
    ],
)
async def test_the_name_is_the_qualified_one_and_that_of_a_partials_function(
    call: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyError) as info:
        await call()
    assert info.value.__notes__ == [f"gave up on {name} after 2 attempts (attempts)"]
    assert vars(caplog.records[0])["function"] == name
