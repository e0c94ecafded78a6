"""The limit may be changed while calls run and wait."""

import asyncio
import math
import threading
from typing import Any

import pytest
from dike_limit import AdaptiveLimit, JobLimiter, limit_jobs
from limit.jobs import Jobs, count_free, settle

WAYS = pytest.mark.parametrize(
    "way",
    [{}, {"key": lambda *args: "key"}, {"share": lambda *args: 1.0}, {"share": lambda name, share=1.0: share}],
    ids=["plain", "key", "share", "shares"],
)


@WAYS
async def test_raising_the_limit_wakes_those_who_wait_at_once(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=9, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start(*range(5))
    limiter.limit = 3
    assert (limiter.in_flight, limiter.waiting) == (3, 2)
    await settle()
    assert jobs.started == [0, 1, 2]
    limiter.limit = math.inf
    await settle()
    assert jobs.started == [0, 1, 2, 3, 4]


async def test_raising_the_limit_wakes_those_whose_share_admits_them_in_order_of_arrival() -> None:
    limiter = limit_jobs(limit=2, max_waiting_time=9, max_waiting_calls=9, share=lambda name, share: share)
    jobs = Jobs(limiter)
    await jobs.start(1, 2, args=(1,))
    for name, share in (("a", 0.5), ("b", 1), ("c", 0.5), ("d", 1)):
        await jobs.start(name, args=(share,))
    limiter.limit = 4
    await settle()
    assert jobs.started[2:] == ["b", "d"]
    await jobs.end(1, 2, "b")
    assert jobs.started[4:] == ["a"]
    limiter.limit = 6
    await settle()
    assert jobs.started[5:] == ["c"]


@WAYS
async def test_lowering_the_limit_stops_nothing_and_blocks_nobody(way: Any) -> None:
    limiter = limit_jobs(limit=3, max_waiting_time=9, **way)
    jobs = Jobs(limiter)
    await jobs.start(*range(4))
    limiter.limit = 1
    assert (limiter.in_flight, limiter.waiting) == (3, 1)
    await jobs.end(0, 1)
    assert jobs.started == [0, 1, 2]
    await jobs.end(2)
    assert jobs.started == [0, 1, 2, 3]


@WAYS
async def test_lowered_to_zero_those_who_wait_stay_until_their_time_is_up(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=9, max_waiting_calls=5, **way)
    jobs = Jobs(limiter)
    await jobs.start(1, 2)
    await asyncio.sleep(1)
    limiter.limit = 0
    await jobs.start(3)
    assert jobs.is_refused(3)
    await jobs.end(1)
    await asyncio.sleep(7)
    assert limiter.waiting == 1
    await asyncio.sleep(1.1)
    assert jobs.is_refused(2)


@WAYS
async def test_those_who_stayed_run_when_the_limit_comes_back(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=9, max_waiting_calls=5, **way)
    jobs = Jobs(limiter)
    await jobs.start(1, 2, 3)
    limiter.limit = 0
    await jobs.end(1)
    limiter.limit = 1
    await settle()
    assert jobs.started == [1, 2]


@WAYS
async def test_the_waiting_room_follows_the_limit(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=9, **way)
    jobs = Jobs(limiter)
    await jobs.start(*range(6))
    assert limiter.waiting == 1
    limiter.limit = 3
    await jobs.start(*range(6, 12))
    assert (limiter.in_flight, limiter.waiting) == (3, 3)
    limiter.limit = 1
    await jobs.start(12)
    assert jobs.is_refused(12)
    assert limiter.waiting == 3
    await jobs.end_all()


@WAYS
async def test_a_limit_that_was_infinite_can_be_lowered(way: Any) -> None:
    limiter = limit_jobs(limit=math.inf, **way)
    jobs = Jobs(limiter)
    await jobs.start(1, 2, 3)
    limiter.limit = 2
    await jobs.start(4)
    assert jobs.is_refused(4)
    await jobs.end(1, 2)
    await jobs.start(5, 6)
    assert jobs.started == [1, 2, 3, 5]


async def test_the_limit_reads_as_it_was_given_and_the_text_tells_the_new_one() -> None:
    limiter = limit_jobs(limit=2)
    assert repr(limiter.limit) == "2"
    limiter.limit = 1.5
    assert repr(limiter.limit) == "1.5"
    jobs = Jobs(limiter)
    await jobs.start(1, 2)
    assert str(jobs.tasks[2].exception()) == "Too many calls to function job! limit=1.5 exceeded"


@pytest.mark.parametrize("limit", [-1, -0.001, math.nan, -math.inf, "1", None, True, 1j])
async def test_a_wrong_limit_is_refused_and_changes_nothing(limit: Any) -> None:
    limiter = limit_jobs(limit=2)
    with pytest.raises((ValueError, TypeError)) as info:
        limiter.limit = limit
    assert repr(limit) in str(info.value)
    assert limiter.limit == 2
    assert await count_free(limiter) == 2


@WAYS
def test_a_change_outside_an_event_loop_is_harmless_and_heeded_by_the_next_call(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=math.inf, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    with asyncio.Runner() as runner:
        runner.run(jobs.start(1, 2, 3))
        limiter.limit = 2
        assert jobs.started == [1]
        assert (limiter.in_flight, limiter.waiting) == (1, 2)
        runner.run(jobs.start(4))
        assert jobs.started == [1, 2]
        limiter.limit = 0
        runner.run(jobs.start(5))
        assert jobs.is_refused(5)
        limiter.limit = 4
        runner.run(jobs.end(1))
        assert jobs.started == [1, 2, 3, 4]
        runner.run(jobs.end_all())


@WAYS
def test_those_who_wait_on_another_event_loop_wake_when_a_slot_of_theirs_frees(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=math.inf, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)

    async def raise_limit(limiter: JobLimiter) -> None:
        async with limiter.slot("here"):
            limiter.limit = 3

    with asyncio.Runner() as runner:
        runner.run(jobs.start(1, 2, 3, 4, 5))
        thread = threading.Thread(target=lambda: asyncio.run(raise_limit(limiter)))
        thread.start()
        thread.join()
        runner.run(settle())
        assert jobs.started == [1]
        runner.run(jobs.end(1))
        assert jobs.started == [1, 2, 3, 4]
        runner.run(jobs.end_all())


async def test_a_waiter_is_admitted_at_its_deadline_if_there_is_a_slot_by_then() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1, max_waiting_calls=9)
    jobs = Jobs(limiter)
    await jobs.start(1, 2)

    def raise_limit() -> None:
        limiter.limit = 2

    thread = threading.Thread(target=raise_limit)
    thread.start()
    thread.join()
    assert jobs.started == [1]
    await asyncio.sleep(1)
    await settle()
    assert jobs.started == [1, 2]


def test_only_a_number_can_be_changed() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=2))
    with pytest.raises(AttributeError, match=r"limit cannot be set, since it was given as AdaptiveLimit\("):
        limiter.limit = 3
    assert limiter.limit == 2


def test_a_limiter_that_was_refused_does_not_use_up_its_adaptive_limit() -> None:
    limit = AdaptiveLimit()
    with pytest.raises(ValueError, match="max_waiting_time"):
        limit_jobs(limit=limit, max_waiting_time=-1)
    assert limit_jobs(limit=limit).limit == 20
