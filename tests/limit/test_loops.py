"""Slots and queue are counted per running event loop."""

import asyncio
import gc
import multiprocessing
import os
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from dike_limit import AdaptiveLimit, JobLimiter, TooManyCalls, limit_jobs
from dike_limit._loop_slots import _forget_loops
from limit.jobs import Jobs, count_free, settle
from virtual_clock import VirtualClockLoop

KINDS = pytest.mark.parametrize(
    "options", [{}, {"max_waiting_time": 1}, {"key": lambda *args: 1}], ids=["plain", "waiting", "key"]
)


class OddLoop(asyncio.SelectorEventLoop):
    """Runs in a way of its own, as event loops written in other languages do."""

    def run_forever(self) -> None:
        super().run_forever()


@KINDS
def test_it_works_under_successive_event_loops_and_counts_them_all(options: Any) -> None:
    limiter = limit_jobs(limit=2, **options)
    jobs = Jobs(limiter)

    async def main(number: int) -> None:
        assert limiter.admitted == 0
        await jobs.start((number, 1), (number, 2), (number, 3))
        assert (limiter.in_flight, limiter.admitted) == (2, 2)
        await jobs.end_all()

    for number in range(3):
        asyncio.run(main(number))
    assert (limiter.in_flight, limiter.waiting) == (0, 0)
    assert limiter.admitted + limiter.rejected == 9


@KINDS
@pytest.mark.parametrize("first", [asyncio.new_event_loop, VirtualClockLoop, OddLoop])
@pytest.mark.parametrize("second", [asyncio.new_event_loop, VirtualClockLoop, OddLoop])
def test_event_loops_that_take_turns_in_a_thread_do_not_mix(
    options: Any, first: Callable[[], Any], second: Callable[[], Any]
) -> None:
    limiter = limit_jobs(limit=2, **options)
    a, b = Jobs(limiter), Jobs(limiter)
    with asyncio.Runner(loop_factory=first) as one, asyncio.Runner(loop_factory=second) as other:
        one.run(a.start(1, 2))
        other.run(b.start(1))
        assert limiter.in_flight == 3
        other.run(b.start(2))
        one.run(a.end(1))
        assert limiter.in_flight == 3
        one.run(a.start(3))
        other.run(b.end(1, 2))
        one.run(a.end(2, 3))
        assert (a.started, b.started) == ([1, 2, 3], [1, 2])
        assert (limiter.in_flight, limiter.admitted) == (0, 5)


def test_inside_an_event_loop_the_counters_are_its_own_and_outside_they_are_sums() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=9)
    a, b = Jobs(limiter), Jobs(limiter)

    async def counters() -> tuple[int, ...]:
        return limiter.in_flight, limiter.waiting, limiter.admitted, limiter.rejected

    with asyncio.Runner() as one, asyncio.Runner() as other, asyncio.Runner() as third:
        one.run(a.start(1, 2, 3))
        other.run(b.start(1))
        assert one.run(counters()) == (1, 1, 1, 1)
        assert other.run(counters()) == (1, 0, 1, 0)
        assert third.run(counters()) == (0, 0, 0, 0)
        assert (limiter.in_flight, limiter.waiting, limiter.admitted, limiter.rejected) == (2, 1, 2, 1)
        one.run(a.end_all())
        other.run(b.end_all())


@KINDS
def test_each_thread_with_an_event_loop_has_the_whole_limit(options: Any) -> None:
    limiter = limit_jobs(limit=3, **options)
    threads, rounds = 4, 200
    most = []
    errors: list[BaseException] = []
    barrier = threading.Barrier(threads)

    @limiter
    async def job() -> int:
        await asyncio.sleep(0)
        return limiter.in_flight

    async def main() -> None:
        barrier.wait()
        for _ in range(rounds):
            results = await asyncio.gather(*(job() for _ in range(3)))
            most.append(max(results))
        assert limiter.in_flight == 0
        assert limiter.admitted == 3 * rounds

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        workers = [threading.Thread(target=run) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    assert set(most) == {3}
    assert (limiter.in_flight, limiter.admitted, limiter.rejected) == (0, 3 * rounds * threads, 0)


@KINDS
def test_calls_left_unfinished_by_a_closed_event_loop_harm_nobody(options: Any) -> None:
    limiter = limit_jobs(limit=1, **options)
    jobs = Jobs(limiter)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(jobs.start(1, 2))
    loop.close()
    left = dict(jobs.tasks)
    assert (limiter.in_flight, limiter.waiting, limiter.admitted) == (0, 0, 1)

    async def main() -> None:
        await jobs.start(3)
        assert limiter.in_flight == 1
        await jobs.end(3)

    asyncio.run(main())
    for task in left.values():
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    collected = weakref.ref(task)
    jobs.tasks.clear()
    jobs._gates.clear()
    del left, task
    gc.collect()
    assert collected() is None
    asyncio.run(count_free_is(limiter, 1))


async def count_free_is(limiter: JobLimiter, number: int) -> None:
    assert await count_free(limiter) == number


def test_a_slot_given_back_after_the_event_loop_has_closed_is_handed_to_nobody_alive() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1)
    loop = asyncio.new_event_loop()

    async def hold() -> Any:
        slot = limiter.slot()
        await slot.__aenter__()
        return slot

    slot = loop.run_until_complete(hold())
    waiting = loop.create_task(hold())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    with pytest.raises(StopIteration):
        slot.__aexit__(None, None, None).send(None)
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    del waiting, slot
    gc.collect()
    assert (limiter.in_flight, limiter.waiting) == (0, 0)


def test_a_call_that_waits_may_be_closed_after_its_event_loop() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1)
    jobs = Jobs(limiter)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(jobs.start("runs", "waits"))
    loop.close()
    for name in ("waits", "runs"):
        jobs.tasks[name].get_coro().close()  # type: ignore[union-attr]
        jobs.tasks[name]._log_destroy_pending = False  # type: ignore[attr-defined]
    assert (limiter.in_flight, limiter.waiting, limiter.admitted) == (0, 0, 1)


def test_nothing_keeps_a_closed_event_loop_once_another_has_come() -> None:
    limiter = limit_jobs(limit=1)
    loop = VirtualClockLoop()
    loop.run_until_complete(Jobs(limiter).start())
    loop.run_until_complete(count_free_is(limiter, 1))
    loop.close()
    dead = weakref.ref(loop)
    del loop
    asyncio.run(count_free_is(limiter, 1))
    gc.collect()
    assert dead() is None


def test_a_stream_is_counted_where_it_was_started() -> None:
    limiter = limit_jobs(limit=1)

    @limiter
    async def stream() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async def main(items: Any) -> None:
        assert await anext(items) in (1, 2)

    with asyncio.Runner() as one, asyncio.Runner() as other:
        items = stream()
        one.run(main(items))
        other.run(main(items))
        assert [limiter.in_flight] == [1]
        with pytest.raises(StopAsyncIteration):
            other.run(main(items))
        assert limiter.in_flight == 0


def test_a_limiter_without_a_running_event_loop_says_so() -> None:
    coroutine = Jobs(limit_jobs(limit=1)).job(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)


def _call_in_child(limiter: Any, queue: Any) -> None:
    queue.put(asyncio.run(count_free(limiter)))


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@KINDS
async def test_a_process_forked_by_a_running_call_has_slots_of_its_own(options: Any) -> None:
    """In the child, the event loop of the parent seems to run: its calls must not count there."""
    limiter = limit_jobs(limit=2, **options)
    context = multiprocessing.get_context("fork")

    @limiter
    async def fork() -> Any:
        queue = context.SimpleQueue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Fork and threads.
            child = context.Process(target=_call_in_child, args=(limiter, queue))
            child.start()
        child.join()
        return queue.get()

    assert await fork() == 2
    assert limiter.in_flight == 0
    await settle()


def test_after_a_fork_all_event_loops_are_forgotten() -> None:
    """The same as above, in this process, where it can be seen from inside."""
    limiter = limit_jobs(limit=2)
    jobs = Jobs(limiter)
    with asyncio.Runner() as runner:
        runner.run(jobs.start(1))
        _forget_loops()
        assert (limiter.in_flight, limiter.admitted) == (0, 0)
        runner.run(jobs.start(2, 3))
        assert jobs.started == [1, 2, 3]
        runner.run(jobs.end_all())
        assert limiter.in_flight == 0


def test_an_adaptive_limit_works_under_successive_event_loops() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=2))
    jobs = Jobs(limiter)

    async def main(number: int) -> None:
        await jobs.start((number, 1), (number, 2), (number, 3))
        assert limiter.in_flight == 2
        await jobs.end_all()

    for number in range(3):
        asyncio.run(main(number))
    assert (limiter.in_flight, limiter.admitted, limiter.rejected) == (0, 6, 3)


async def test_a_call_is_counted_by_the_event_loop_that_runs_it_not_by_the_one_that_made_it() -> None:
    limiter = limit_jobs(limit=1)
    jobs = Jobs(limiter)
    await jobs.start(1)
    coroutine = jobs.job(2)

    def run() -> None:
        async def main() -> None:
            task = asyncio.ensure_future(coroutine)
            await settle()
            assert limiter.in_flight == 1
            jobs._gates[2].set_result("ran")
            assert await task == "ran"

        asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert limiter.in_flight == 1
    with pytest.raises(TooManyCalls):
        await jobs.job(3)
