"""Bugs that other limiters had."""

import asyncio
import sys
from typing import Any

import pytest
from dike_limit import TooManyCalls, limit_jobs
from limit.jobs import Jobs, settle

WAYS = pytest.mark.parametrize(
    "way", [{}, {"key": lambda *args: "key"}, {"share": lambda *args: 1.0}], ids=["plain", "key", "share"]
)


@WAYS
async def test_anyio_947_a_cancelled_waiter_loses_no_slot(way: Any) -> None:
    """The slot handed to a waiter that was cancelled in the same step was lost."""
    limiter = limit_jobs(limit=1, max_waiting_time=9, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    for order in ("end first", "cancel first"):
        await jobs.start("runs", "waits")
        if order == "end first":
            jobs._gates["runs"].set_result(None)
            jobs.tasks["waits"].cancel()
        else:
            jobs.tasks["waits"].cancel()
            jobs._gates["runs"].set_result(None)
        await settle()
        assert (limiter.in_flight, limiter.waiting) == (0, 0)


@WAYS
async def test_anyio_1170_a_newcomer_does_not_steal_a_slot_that_was_handed_over(way: Any) -> None:
    """The slot was free between its release and the moment when the waiter ran."""
    limiter = limit_jobs(limit=1, max_waiting_time=9, max_waiting_calls=1, **way)
    jobs = Jobs(limiter)
    outcomes = []

    async def release_and_call() -> None:
        async with limiter.slot("holds"):
            await asyncio.sleep(1)
        # No other task runs between the release and this call.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                outcomes.append(await jobs.job("newcomer"))

    task = asyncio.create_task(release_and_call())
    await settle()
    await jobs.start("waits")
    await task
    await settle()
    assert jobs.started == ["waits"]
    assert outcomes == []


@WAYS
async def test_anyio_1223_shrunk_and_grown_again_no_slot_is_given_out_twice(way: Any) -> None:
    """After the limit had shrunk below what ran and grown again, more ran than the limit."""
    limiter = limit_jobs(limit=3, max_waiting_time=9, max_waiting_calls=99, **way)
    jobs = Jobs(limiter)
    await jobs.start(*range(10))
    limiter.limit = 1
    limiter.limit = 3
    await settle()
    assert limiter.in_flight == len(jobs.started) == 3
    limiter.limit = 1
    await jobs.end(0)
    limiter.limit = 2
    await settle()
    assert limiter.in_flight == 2
    assert jobs.started == [0, 1, 2]
    limiter.limit = 4
    await settle()
    assert limiter.in_flight == 4
    await jobs.end_all()
    assert jobs.started == list(range(10))
    assert (limiter.in_flight, limiter.waiting) == (0, 0)


@WAYS
async def test_cpython_gh_90155_a_waiter_cancelled_before_its_turn_blocks_nobody(way: Any) -> None:
    """`asyncio.Semaphore` lost its wake-up to the cancelled waiter, and the others waited for ever."""
    limiter = limit_jobs(limit=1, max_waiting_time=float("inf"), max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs", "cancelled", "a", "b")
    await jobs.cancel("cancelled")
    await jobs.end("runs", "a", "b")
    assert jobs.started == ["runs", "a", "b"]


@WAYS
async def test_cpython_gh_97545_the_order_is_kept_when_those_woken_are_cancelled(way: Any) -> None:
    """`asyncio.Semaphore` let a later waiter pass the one that was next."""
    limiter = limit_jobs(limit=2, max_waiting_time=float("inf"), max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start(1, 2, "a", "b", "c", "d")
    jobs._gates[1].set_result(None)
    jobs._gates[2].set_result(None)
    while not (jobs.tasks[1].done() and jobs.tasks[2].done()):
        await asyncio.sleep(0)
    jobs.tasks["a"].cancel()
    await settle()
    assert jobs.started == [1, 2, "b", "c"]
    assert limiter.in_flight == 2


@WAYS
async def test_wait_for_around_a_call_that_waits_loses_neither_slot_nor_cancellation(way: Any) -> None:
    """On Python 3.11 `wait_for` may swallow a cancellation that comes together with the result."""
    limiter = limit_jobs(limit=1, max_waiting_time=float("inf"), max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    for steps in range(8):
        await jobs.start("runs")
        task = asyncio.create_task(asyncio.wait_for(jobs.job("waits"), 1))
        await settle()
        jobs._gates["runs"].set_result(None)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await settle()
        assert task.cancelled() or sys.version_info < (3, 12)
        assert (limiter.in_flight, limiter.waiting) == (0, 0)


@WAYS
async def test_timeout_around_a_call_that_waits_frees_its_place(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=float("inf"), max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await jobs.job("waits")
    assert limiter.waiting == 0


async def test_a_limit_of_one_and_a_half_limits() -> None:
    """The older dike, and `asyncio.Semaphore(1.5)`, let two or all of them in."""
    jobs = Jobs(limit_jobs(limit=1.5))
    await jobs.start(1, 2)
    assert jobs.is_refused(2)


async def test_the_slot_is_held_until_a_streamed_body_has_been_streamed() -> None:
    limiter = limit_jobs(limit=1)

    @limiter
    async def body() -> Any:
        yield b"first"
        yield b"second"

    async for _ in body():
        with pytest.raises(TooManyCalls):
            await anext(body())
    assert limiter.in_flight == 0
