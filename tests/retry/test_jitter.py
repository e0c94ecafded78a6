"""Jitter spreads the sleeps out, after the cap, and comes from the module `random`."""

import random
from typing import Any

import pytest
from dike_retry import retry


async def slept(script: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[float]:
    """Return the sleeps before six retries."""
    sleeps = []

    async def sleep(delay: float) -> None:
        sleeps.append(delay)

    monkeypatch.setattr("asyncio.sleep", sleep)
    await retry(log_exception_info=False, **options)(script(*map(KeyError, range(6)), "done"))()
    return sleeps


@pytest.mark.parametrize("jitter", [0.25, 0.5, 1])
async def test_each_sleep_is_the_capped_delay_times_a_random_factor(
    script: Any, monkeypatch: pytest.MonkeyPatch, jitter: float
) -> None:
    random.seed(1)
    sleeps = await slept(script, monkeypatch, delay=1, backoff=2, max_delay=10, jitter=jitter)
    random.seed(1)
    assert sleeps == [base * random.uniform(1 - jitter, 1) for base in (1, 2, 4, 8, 10, 10)]


async def test_the_module_random_is_asked_when_needed(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.5

    monkeypatch.setattr(random, "uniform", uniform)
    assert await slept(script, monkeypatch, delay=1, backoff=2, jitter=0.75) == [0.5, 1, 2, 4, 8, 16]
    assert asked == [(0.25, 1)] * 6


async def test_without_jitter_nothing_random_is_drawn(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = random.getstate()
    assert await slept(script, monkeypatch, delay=1) == [1] * 6
    assert random.getstate() == before


async def test_the_timeout_is_compared_with_the_sleep_after_jitter(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.5)
    assert await retry(timeout=1, delay=1, jitter=1)(script(KeyError(), "done"))() == "done"
