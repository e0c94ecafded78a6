"""Attempts, delays and the log: what users of the older dike rely on."""

import asyncio
import logging
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from dike_retry import retry


async def test_a_success_is_returned_at_once(script: Any) -> None:
    func = script("done")
    assert await retry()(func)() == "done"
    assert func.called_at == [0]


async def test_the_arguments_reach_every_attempt() -> None:
    seen = []

    @retry()
    async def func(*args: object, **kwargs: object) -> None:
        seen.append((args, kwargs))
        if len(seen) < 3:
            raise ValueError

    await func(1, 2, key=3)
    assert seen == [((1, 2), {"key": 3})] * 3


async def test_without_attempts_it_goes_on_until_a_success(script: Any) -> None:
    func = script(*map(KeyError, range(500)), "done")
    assert await retry(log_exception_info=False)(func)() == "done"


@pytest.mark.parametrize(("attempts", "calls"), [(1, 1), (1.0, 1), (2, 2), (2.5, 3), (3.0, 3), (Fraction(7, 2), 4)])
async def test_it_stops_when_the_calls_made_reach_attempts(script: Any, attempts: float, calls: int) -> None:
    func = script(*[KeyError()] * 9)
    with pytest.raises(KeyError):
        await retry(attempts=attempts)(func)()
    assert func.calls == calls


async def test_infinite_attempts_are_no_cap(script: Any) -> None:
    assert await retry(attempts=float("inf"))(script(*map(KeyError, range(100)), "done"))() == "done"


async def test_the_last_exception_is_raised_as_it_is(script: Any) -> None:
    errors = [KeyError("first"), KeyError("second"), KeyError("third")]
    with pytest.raises(KeyError) as info:
        await retry(attempts=3)(script(*errors))()
    assert info.value is errors[2]
    assert info.value.__context__ is None
    assert info.value.__cause__ is None


@pytest.mark.parametrize("types", [ValueError, (ValueError, OSError), (), ExceptionGroup])
async def test_other_exceptions_than_exception_types_come_out_at_once(script: Any, types: Any) -> None:
    func = script(KeyError(), "done")
    with pytest.raises(KeyError):
        await retry(exception_types=types)(func)()
    assert func.calls == 1


@pytest.mark.parametrize("types", [LookupError, (OSError, KeyError), Exception, BaseException])
async def test_exceptions_of_exception_types_and_their_subclasses_are_retried(script: Any, types: Any) -> None:
    assert await retry(exception_types=types)(script(KeyError(), "done"))() == "done"


async def test_a_group_of_ordinary_exceptions_is_retried_like_any_other(script: Any) -> None:
    group = ExceptionGroup("some", [ValueError(), ExceptionGroup("more", [OSError()])])
    assert await retry()(script(group, "done"))() == "done"


@pytest.mark.parametrize("delay", [0.5, timedelta(milliseconds=500), Fraction(1, 2)])
async def test_the_delay_is_slept_before_each_further_attempt(script: Any, delay: Any) -> None:
    func = script(*[ValueError()] * 3, "done")
    await retry(delay=delay)(func)()
    assert func.sleeps == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("backoff", "sleeps"), [(2, [0.5, 1, 2, 4]), (0.5, [0.5, 0.25, 0.125, 0.0625]), (0, [0.5, 0, 0, 0])]
)
async def test_the_delay_is_multiplied_by_backoff_each_time(script: Any, backoff: float, sleeps: list[float]) -> None:
    func = script(*[ValueError()] * 4, "done")
    await retry(delay=0.5, backoff=backoff)(func)()
    assert func.sleeps == sleeps


async def test_no_sleep_is_longer_than_max_delay(script: Any) -> None:
    func = script(*[ValueError()] * 5, "done")
    await retry(delay=1, backoff=3, max_delay=timedelta(seconds=10))(func)()
    assert func.sleeps == [1, 3, 9, 10, 10]


async def test_the_backoff_starts_anew_with_each_call(script: Any) -> None:
    func = script(ValueError(), ValueError(), "done", ValueError(), ValueError(), "done")
    decorated = retry(delay=1, backoff=2)(func)
    await decorated()
    await decorated()
    assert func.sleeps == [1, 2, 0, 1, 2]


@pytest.mark.parametrize("delay", [None, 0, 0.25])
@pytest.mark.parametrize("options", [{}, {"timeout": 60}])
async def test_asyncio_sleep_is_looked_up_when_needed_and_gets_one_argument(
    script: Any, monkeypatch: pytest.MonkeyPatch, delay: float | None, options: dict[str, Any]
) -> None:
    slept = []

    async def sleep(*args: object, **kwargs: object) -> None:
        slept.append((args, kwargs))

    decorated = retry(delay=delay, **options)(script(ValueError(), ValueError(), "done"))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    await decorated()
    assert slept == [((delay or 0,), {})] * 2


async def test_other_tasks_get_their_turn_between_attempts_without_delay() -> None:
    stop = False

    @retry(log_exception_info=False)
    async def until_stopped() -> str:
        if not stop:
            raise ValueError
        return "stopped"

    task = asyncio.create_task(until_stopped())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stop = True
    assert await task == "stopped"


@pytest.mark.parametrize(
    ("delay", "text"),
    [
        (None, "Caught exception ValueError('oops'). Retrying in 0s ..."),
        (0.1, "Caught exception ValueError('oops'). Retrying in 0.1s ..."),
        (timedelta(minutes=20), "Caught exception ValueError('oops'). Retrying in 1.2e+03s ..."),
        (1 / 3, "Caught exception ValueError('oops'). Retrying in 0.333s ..."),
    ],
)
async def test_a_retry_is_logged_as_ever(script: Any, caplog: pytest.LogCaptureFixture, delay: Any, text: str) -> None:
    error = ValueError("oops")
    await retry(delay=delay)(script(error, "done"))()
    assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records] == [
        ("dike", logging.WARNING, text)
    ]
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is error


async def test_the_log_is_without_traceback_if_it_should_be(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    await retry(log_exception_info=False)(script(ValueError(), "done"))()
    assert [record.exc_info for record in caplog.records] == [None]


async def test_a_success_logs_nothing(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await retry()(script("done"))()
    assert not [record for record in caplog.records if record.name == "dike"]
