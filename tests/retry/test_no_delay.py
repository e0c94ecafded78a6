"""no_delay spares users' tests the waiting."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from dike_retry import FailedAttempt, RetryBudget, no_delay, retry


async def test_every_sleep_inside_is_zero_and_outside_is_not(script: Any) -> None:
    func = script(KeyError(), "done", KeyError(), "done", KeyError(), "done")
    call = retry(delay=1, jitter=0.5, backoff=2)(func)
    with no_delay():
        await call()
    assert func.sleeps == [0]
    func.called_at.clear()
    await call()
    assert func.sleeps[0] >= 0.5


async def test_sleep_is_awaited_all_the_same(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = []

    async def sleep(delay: float) -> None:
        sleeps.append(delay)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with no_delay():
        await retry(delay=1)(script(KeyError(), "done"))()
    assert sleeps == [0]


async def test_the_time_that_retry_if_returns_is_not_slept_either(script: Any) -> None:
    func = script(KeyError(), "done")
    with no_delay():
        await retry(retry_if=lambda exc: timedelta(hours=1))(func)()
    assert func.sleeps == [0]


async def test_the_zero_is_what_is_reported_and_compared_with_the_deadline(
    script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failed: list[FailedAttempt] = []
    with no_delay():
        await retry(delay=60, timeout=1, on_failure=failed.append)(script(KeyError(), "done"))()
    assert [each.delay for each in failed] == [0]
    assert caplog.messages == ["Caught exception KeyError(). Retrying in 0s ..."]


@pytest.mark.parametrize("asked", [-1, 6])
async def test_what_retry_if_asks_for_is_still_checked(script: Any, asked: float) -> None:
    with no_delay(), pytest.raises(KeyError):
        await retry(max_delay=5, retry_if=lambda exc: timedelta(seconds=asked))(script(KeyError()))()


async def test_attempts_and_budget_count_as_ever(script: Any) -> None:
    budget = RetryBudget(capacity=1)
    with no_delay(), pytest.raises(KeyError):
        await retry(budget=budget, delay=1)(script(KeyError(), KeyError(), "done"))()
    assert budget.balance == 0
    with no_delay(), pytest.raises(KeyError):
        await retry(attempts=2, delay=1)(script(KeyError(), KeyError(), "done"))()


async def test_it_may_be_nested(script: Any) -> None:
    func = script(KeyError(), "done")
    with no_delay():
        with no_delay():
            pass
        await retry(delay=1)(func)()
    assert func.sleeps == [0]


async def test_it_ends_when_the_block_is_left_by_an_exception(script: Any) -> None:
    func = script(KeyError(), "done")
    with pytest.raises(ZeroDivisionError), no_delay():
        raise ZeroDivisionError
    await retry(delay=1)(func)()
    assert func.sleeps == [1]


async def test_it_holds_for_tasks_started_inside_and_for_no_others(script: Any) -> None:
    inside, outside = script(KeyError(), "done"), script(KeyError(), "done")
    call = retry(delay=1)
    other = asyncio.create_task(call(outside)())
    with no_delay():
        mine = asyncio.create_task(call(inside)())
        await asyncio.sleep(0)
    await asyncio.gather(mine, other)
    assert inside.sleeps == [0]
    assert outside.sleeps == [1]


def test_it_covers_asyncio_run(script: Any) -> None:
    with no_delay():
        assert asyncio.run(retry(delay=3600)(script(KeyError(), "done"))()) == "done"


@pytest.mark.real_time
def test_it_does_not_hold_for_other_threads(script: Any) -> None:
    func = script(KeyError(), "done")
    with no_delay():
        thread = threading.Thread(target=lambda: asyncio.run(retry(delay=0.01)(func)()))
        thread.start()
        thread.join()
    assert func.sleeps[0] >= 0.009
