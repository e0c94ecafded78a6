"""Bugs that other libraries had, each named after the report of it."""

import asyncio
import random
from typing import Any

import pytest
from dike_retry import retry


async def test_cancellation_is_not_swallowed_tenacity_529() -> None:
    @retry(attempts=10, exception_types=BaseException, delay=1)
    async def func() -> None:
        await asyncio.sleep(1000)

    task = asyncio.create_task(func())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert asyncio.get_running_loop().time() == 1


async def test_concurrent_calls_do_not_share_state_tenacity_93() -> None:
    calls = {"a": 0, "b": 0}

    @retry(attempts=3, delay=1)
    async def func(caller: str) -> None:
        calls[caller] += 1
        await asyncio.sleep(0.25)
        raise KeyError(caller)

    outcomes = await asyncio.gather(func("a"), func("b"), return_exceptions=True)
    assert calls == {"a": 3, "b": 3}
    assert [outcome.args for outcome in outcomes if isinstance(outcome, KeyError)] == [("a",), ("b",)]


@pytest.mark.parametrize("backoff", [2, 10, 1e300])
async def test_the_backoff_does_not_overflow_tenacity_526_stamina_104(script: Any, backoff: float) -> None:
    func = script(*map(KeyError, range(1500)), "done")
    call = retry(delay=1, backoff=backoff, max_delay=5, jitter=0.5, log_exception_info=False)(func)
    assert await call() == "done"
    assert all(2.5 <= sleep <= 5.001 for sleep in func.sleeps[10:])


async def test_even_without_max_delay_the_backoff_does_not_overflow(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeps = []

    async def sleep(delay: float) -> None:
        sleeps.append(delay)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    func = script(*map(KeyError, range(1500)), "done")
    assert await retry(delay=1, backoff=2, log_exception_info=False)(func)() == "done"
    assert sleeps[1000] == 2.0**1000
    assert sleeps[1499] == float("inf")


async def test_a_time_limit_limits_backoff_186() -> None:
    # There, a limit of 0.2 s let a function that takes 0.1 s go on for 0.8 s.
    @retry(timeout=0.25, delay=0.125)
    async def func() -> None:
        await asyncio.sleep(0.125)
        raise KeyError

    with pytest.raises(KeyError):
        await func()
    assert asyncio.get_running_loop().time() <= 0.25

    @retry(timeout=0.25)
    async def slow() -> None:
        await asyncio.sleep(0.75)

    started = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await slow()
    assert asyncio.get_running_loop().time() - started == 0.25


async def test_jitter_does_not_vanish_at_the_cap_stamina_httpx_retries(script: Any) -> None:
    random.seed(1)
    func = script(*map(KeyError, range(50)), "done")
    await retry(delay=1, backoff=2, max_delay=4, jitter=1, log_exception_info=False)(func)()
    capped = func.sleeps[5:]
    assert len({round(sleep, 6) for sleep in capped}) == len(capped)
    assert min(capped) < 1
    assert max(capped) > 3
