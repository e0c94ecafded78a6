"""The waiting room: who may wait, for how long, and who is next."""

import asyncio
import math
import sys
from datetime import timedelta
from typing import Any

import pytest
from dike_limit import limit_jobs
from limit.jobs import Jobs, settle

# With a key or a share, calls go another way through the code.
WAYS = pytest.mark.parametrize(
    "way", [{}, {"key": lambda *args: "key"}, {"share": lambda *args: 1.0}], ids=["plain", "key", "share"]
)


@WAYS
async def test_those_over_the_limit_wait_and_run_in_order_of_arrival(way: Any) -> None:
    limiter = limit_jobs(limit=2, max_waiting_time=10, max_waiting_calls=5, **way)
    jobs = Jobs(limiter)
    await jobs.start(*range(7))
    assert jobs.started == [0, 1]
    assert limiter.waiting == 5
    await jobs.end(1, 0, 2, 3, 4)
    assert jobs.started == [0, 1, 2, 3, 4, 5, 6]
    assert (limiter.in_flight, limiter.waiting) == (2, 0)
    await jobs.end(5, 6)


@WAYS
async def test_without_a_number_as_many_may_wait_as_the_limit_rounded_up(way: Any) -> None:
    for limit, room in ((1, 1), (2, 2), (2.5, 3), (100 * 0.29, 29)):
        limiter = limit_jobs(limit=limit, max_waiting_time=10, **way)
        jobs = Jobs(limiter)
        await jobs.start(*range(80))
        assert limiter.waiting == room
        assert limiter.rejected == 80 - int(limit + 1e-9) - room
        await jobs.end_all()


@WAYS
@pytest.mark.parametrize(("calls", "room"), [(0, 0), (1, 1), (2.5, 2), (math.inf, 40)])
async def test_as_many_may_wait_as_max_waiting_calls_says(way: Any, calls: float, room: int) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=10, max_waiting_calls=calls, **way)
    jobs = Jobs(limiter)
    await jobs.start(*range(41))
    assert limiter.waiting == room
    assert limiter.rejected == 40 - room
    await jobs.end_all()


@WAYS
@pytest.mark.parametrize("time", [2, 2.0, timedelta(seconds=2)])
async def test_a_call_waits_no_longer_than_max_waiting_time(way: Any, time: Any) -> None:
    loop = asyncio.get_running_loop()
    limiter = limit_jobs(limit=1, max_waiting_time=time, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    refused_at = {}
    await jobs.start("runs")
    for name in ("a", "b", "c"):
        await asyncio.sleep(0.5)
        await jobs.start(name)
        jobs.tasks[name].add_done_callback(lambda task, name=name: refused_at.update({name: loop.time()}))
    await asyncio.sleep(5)
    assert refused_at == {"a": 2.5, "b": 3.0, "c": 3.5}
    assert all(map(jobs.is_refused, "abc"))
    assert (limiter.waiting, limiter.rejected, limiter.in_flight) == (0, 3, 1)


@WAYS
async def test_a_call_may_wait_for_ever(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=math.inf, **way)
    jobs = Jobs(limiter)
    await jobs.start(1, 2)
    await asyncio.sleep(1e5)
    assert limiter.waiting == 1
    await jobs.end(1, 2)
    assert jobs.started == [1, 2]


@WAYS
async def test_those_who_stop_waiting_make_room(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=10, max_waiting_calls=2, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs", "a", "b", "full")
    assert jobs.is_refused("full")
    await jobs.cancel("a")
    await jobs.start("c", "full again")
    assert jobs.is_refused("full again")
    await jobs.end("runs", "b")
    assert jobs.started == ["runs", "b", "c"]


@WAYS
async def test_the_time_of_the_first_in_line_is_kept_when_those_before_it_have_gone(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs", "served", "cancelled")
    await asyncio.sleep(0.5)
    await jobs.start("late")
    await jobs.end("runs")
    await jobs.cancel("cancelled")
    await asyncio.sleep(0.75)
    assert limiter.waiting == 1
    await asyncio.sleep(0.25)
    assert jobs.is_refused("late")


@WAYS
async def test_no_timer_is_left_when_nobody_waits(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=100, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start(1, 2, 3)
    await jobs.end(1)
    await jobs.cancel(3)
    await jobs.end(2)
    assert all(handle.cancelled() for handle in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


@WAYS
async def test_a_slot_that_is_handed_over_counts_as_taken(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs", "next")
    jobs._gates["runs"].set_result(None)
    while not jobs.tasks["runs"].done():
        await asyncio.sleep(0)
    assert jobs.started == ["runs"]
    assert (limiter.in_flight, limiter.waiting) == (1, 0)
    await settle()
    assert jobs.started == ["runs", "next"]


@WAYS
async def test_a_waiter_cancelled_after_the_grant_passes_the_slot_on(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs", "granted", "next")
    jobs._gates["runs"].set_result(None)
    while not jobs.tasks["runs"].done():
        await asyncio.sleep(0)
    jobs.tasks["granted"].cancel()
    await settle()
    assert jobs.tasks["granted"].cancelled()
    assert jobs.started == ["runs", "next"]
    assert (limiter.in_flight, limiter.waiting, limiter.admitted) == (1, 0, 2)


@WAYS
async def test_a_waiter_cancelled_when_its_time_is_up_is_cancelled_and_gives_nothing_back(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs", "waits")
    loop = asyncio.get_running_loop()
    loop.call_at(loop.time() + 1 + 1e-10, jobs.tasks["waits"].cancel)
    await asyncio.sleep(2)
    assert jobs.tasks["waits"].cancelled()
    assert (limiter.in_flight, limiter.waiting, limiter.rejected) == (1, 0, 0)


@WAYS
async def test_a_freed_slot_goes_past_a_waiter_that_is_being_cancelled(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs", "leaves", "next")
    jobs.tasks["leaves"].cancel()
    jobs._gates["runs"].set_result(None)
    await settle()
    assert jobs.started == ["runs", "next"]
    assert (limiter.in_flight, limiter.waiting) == (1, 0)


@WAYS
async def test_a_waiter_whose_coroutine_is_closed_leaves_the_queue(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1, max_waiting_calls=9, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs")
    coroutine = jobs.job("closed")
    coroutine.send(None)
    await jobs.start("next", "last")
    assert limiter.waiting == 3
    coroutine.close()
    assert limiter.waiting == 2
    await jobs.end("runs", "next", "last")
    assert jobs.started == ["runs", "next", "last"]
    assert limiter.in_flight == 0


@WAYS
async def test_a_limit_below_one_lets_nobody_wait(way: Any) -> None:
    limiter = limit_jobs(limit=0.9, max_waiting_time=10, max_waiting_calls=5, **way)
    jobs = Jobs(limiter)
    await jobs.start(1)
    assert jobs.is_refused(1)


@WAYS
async def test_those_who_leave_from_the_middle_do_not_pile_up(way: Any) -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=math.inf, max_waiting_calls=math.inf, **way)
    jobs = Jobs(limiter)
    await jobs.start("runs", "first")
    for name in range(500):
        await jobs.start(name)
        await jobs.cancel(name)
    (here,) = limiter._rules.loops.values()
    lanes = [lane for slots in here.all() for lane in slots._lanes.values()]
    assert sum(map(len, lanes)) <= 3
    await jobs.end("runs", "first")
    assert jobs.started == ["runs", "first"]


async def test_a_call_takes_as_long_with_many_waiters_as_with_few() -> None:
    """Counted in lines of Python, which does not depend on the machine."""

    async def cost(waiters: int) -> float:
        limiter = limit_jobs(limit=10, max_waiting_time=1000, max_waiting_calls=math.inf, share=lambda share: share)

        @limiter
        async def func(share: float) -> None:
            await asyncio.sleep(0)

        lines = 0

        def count(frame: Any, event: str, arg: Any) -> Any:
            nonlocal lines
            if "dike_limit" not in frame.f_code.co_filename:
                return None
            lines += event == "line"
            return count

        tasks = [asyncio.create_task(func((number % 7 + 3) / 9)) for number in range(waiters)]
        tracer = sys.gettrace()
        sys.settrace(count)
        try:
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            sys.settrace(tracer)
        return lines / waiters

    assert await cost(10_000) < 1.1 * await cost(300)
