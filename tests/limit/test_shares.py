"""Shares: less important work is shed first."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from dike_limit import limit_jobs
from limit.jobs import Jobs, settle


@pytest.mark.parametrize(
    ("limit", "share", "slots"),
    [(10, 0.5, 5), (10, 1, 10), (100, 0.29, 29), (3, 0.5, 1), (3, 0.2, 0), (10, Fraction(1, 3), 3), (2.5, 0.8, 2)],
)
async def test_a_call_is_admitted_up_to_its_share_of_the_limit(limit: float, share: Any, slots: int) -> None:
    for given in (share, lambda name: share):
        jobs = Jobs(limit_jobs(limit=limit, share=given))
        await jobs.start(*range(40))
        assert len(jobs.started) == slots


async def test_slots_taken_by_others_count_towards_the_share() -> None:
    jobs = Jobs(limit_jobs(limit=4, share=lambda name, share: share))
    await jobs.start("user 1", "user 2", args=(1,))
    await jobs.start("background", args=(0.5,))
    assert jobs.is_refused("background")
    await jobs.start("user 3", "user 4", "user 5", args=(1,))
    assert jobs.started == ["user 1", "user 2", "user 3", "user 4"]


async def test_a_newcomer_passes_only_those_whose_share_keeps_them_out() -> None:
    limiter = limit_jobs(limit=4, max_waiting_time=9, share=lambda name, share: share)
    jobs = Jobs(limiter)
    await jobs.start(1, 2, args=(0.5,))
    await jobs.start("low", args=(0.5,))
    await jobs.start("high 1", "high 2", "high 3", args=(1,))
    assert jobs.started == [1, 2, "high 1", "high 2"]
    await jobs.end(1)
    assert jobs.started[4:] == ["high 3"]
    await jobs.end(2, "high 1")
    assert jobs.started[5:] == []
    await jobs.end("high 2")
    assert jobs.started[5:] == ["low"]


async def test_a_freed_slot_goes_to_the_first_whose_share_admits_it() -> None:
    limiter = limit_jobs(limit=4, max_waiting_time=9, max_waiting_calls=9, share=lambda name, share: share)
    jobs = Jobs(limiter)
    await jobs.start(1, 2, 3, 4, args=(1,))
    for name, share in (("a", 0.25), ("b", 0.5), ("c", 0.76), ("d", 0.75), ("e", 1), ("f", 0.5)):
        await jobs.start(name, args=(share,))
    await jobs.end(1)
    assert jobs.started[4:] == ["e"]
    await jobs.end("e")
    assert jobs.started[5:] == []
    await jobs.end(2)
    assert jobs.started[5:] == ["c"]
    await jobs.end("c")
    assert jobs.started[6:] == ["d"]
    await jobs.end("d", 3)
    assert jobs.started[7:] == ["b"]
    await jobs.end(4)
    assert jobs.started[8:] == ["f"]
    await jobs.end("b", "f")
    assert jobs.started[9:] == ["a"]


async def test_a_share_too_small_for_one_slot_waits_in_vain() -> None:
    limiter = limit_jobs(limit=3, max_waiting_time=9, share=0.3)
    jobs = Jobs(limiter)
    await jobs.start("never")
    assert limiter.waiting == 1
    limiter.limit = 4
    await settle()
    assert jobs.started == ["never"]


@pytest.mark.parametrize("share", [1, 1.0, 0.5, Fraction(1, 2), np.float64(0.5), np.float32(0.5), np.int64(1)])
async def test_a_share_may_be_any_real_number(share: Any) -> None:
    for given in (share, lambda name: share):
        jobs = Jobs(limit_jobs(limit=2, share=given))
        await jobs.start("a")
        assert jobs.started == ["a"]


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan"), float("inf"), True, None, "1", 1j, [1.0], 10**400])
async def test_anything_else_that_share_returns_is_a_value_error_to_that_caller(share: Any) -> None:
    limiter = limit_jobs(limit=1, key=lambda name, share: "key", share=lambda name, share: share)
    jobs = Jobs(limiter)
    with pytest.raises(ValueError, match="share must"):
        await jobs.job("wrong", share)
    assert (limiter.in_flight, limiter.admitted, limiter.rejected) == (0, 0, 0)
    assert not next(iter(limiter._rules.loops.values()))._by_key if limiter._rules.loops else True
    await jobs.start("right", args=(1,))
    assert jobs.started == ["right"]


async def test_an_error_of_share_comes_out_and_no_slot_is_taken() -> None:
    limiter = limit_jobs(limit=1, share=lambda name: 1 / name)
    with pytest.raises(ZeroDivisionError):
        await Jobs(limiter).job(0)
    assert limiter.in_flight == 0
    await Jobs(limiter).start(1)


async def test_the_whole_limit_is_told_to_a_call_that_is_refused() -> None:
    jobs = Jobs(limit_jobs(limit=2, share=0.5))
    await jobs.start(1, 2)
    error: Any = jobs.tasks[2].exception()
    assert (error.limit, error.in_flight) == (2, 1)
    assert str(error) == "Too many calls to function job! limit=2 exceeded"
