"""One function under several event loops, one after the other and at once."""

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
import virtual_clock
from batch.backend import settle, start
from dike_batch import batch


@batch(target_batch_size=2, max_waiting_time=0.05)
async def double(rows: list[int]) -> list[int]:
    return [2 * row for row in rows]


@batch(target_batch_size=10**6, max_waiting_time=1000, max_concurrent_batches=1)
async def wait_for_ever(rows: list[Any]) -> list[Any]:
    await asyncio.get_running_loop().create_future()
    return rows


async def double_twice() -> list[list[int]]:
    return await asyncio.gather(double([1]), double([2]))


def test_successive_runs_share_the_function() -> None:
    for _ in range(3):
        assert asyncio.run(double_twice()) == [[2], [4]]


def test_a_run_that_left_callers_behind_does_not_disturb_the_next() -> None:
    async def leave_behind() -> None:
        start(double([1]))
        start(wait_for_ever([1]))
        await settle()

    for _ in range(3):
        asyncio.run(leave_behind())
    assert asyncio.run(double_twice()) == [[2], [4]]


def test_loops_in_several_threads_do_not_meet() -> None:
    results: list[Any] = []
    barrier = threading.Barrier(8)

    async def many() -> list[list[int]]:
        barrier.wait()
        return await asyncio.gather(*[double([i]) for i in range(500)])

    threads = [threading.Thread(target=lambda: results.append(asyncio.run(many()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[[2 * i] for i in range(500)]] * 8


def test_each_loop_has_figures_of_its_own() -> None:
    async def calls(number: int) -> int:
        await asyncio.gather(*[double([i]) for i in range(number)])
        return double.batch_info().calls

    assert [virtual_clock.run(calls(number)) for number in (3, 5)] == [3, 5]


def test_outside_a_loop_there_are_no_figures() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        double.batch_info()


def test_asyncio_run_cancels_everything_without_a_hang_or_a_warning() -> None:
    async def main() -> None:
        for _ in range(10):
            start(double([1]))
            start(wait_for_ever([2]))
        await settle()
        flush = start(wait_for_ever.flush())
        await settle()
        start(wait_for_ever([3]))
        await settle()
        assert not flush.done()

    asyncio.run(main())


def test_a_call_that_survives_the_cancellation_of_everything_is_still_answered() -> None:
    results = []

    async def shielded() -> None:
        call = asyncio.ensure_future(double([1]))
        try:
            await asyncio.shield(asyncio.sleep(100))
        except asyncio.CancelledError:
            results.append(await double([2]))
            await asyncio.wait([call])

    async def main() -> None:
        start(shielded())
        await asyncio.sleep(0.001)

    asyncio.run(main())
    assert results == [[4]]


class Row:
    pass


def test_a_call_may_be_closed_after_its_loop() -> None:
    @batch(target_batch_size=2, max_waiting_time=1)
    async def function(rows: list[int]) -> list[int]:
        await asyncio.get_running_loop().create_future()
        return rows

    async def begin(calls: list[Any]) -> None:
        for call in calls:
            call.send(None)
        await settle()
        for task in asyncio.all_tasks():
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    loop = asyncio.new_event_loop()
    calls: list[Any] = [function([i]) for i in range(3)]  # two of them run, one waits
    loop.run_until_complete(begin(calls))
    loop.close()
    for call in calls:
        call.close()


def leave_behind() -> list[weakref.ref[Any]]:
    """Close a loop on which a call waits."""
    loop = asyncio.new_event_loop()
    row = Row()
    task = loop.create_task(wait_for_ever([row]))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    return [weakref.ref(row), weakref.ref(loop)]


async def call_in_vain(**rows: list[int]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await (wait_for_ever(**rows) if rows else wait_for_ever([1]))


@pytest.mark.parametrize("rows", [{}, {"rows": [1]}])
def test_what_a_closed_loop_left_behind_is_dropped_when_another_loop_comes(rows: dict[str, list[int]]) -> None:
    gone = leave_behind()
    asyncio.run(call_in_vain(**rows))
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_what_a_closed_loop_left_behind_is_dropped_when_a_loop_calls_that_was_there_before() -> None:
    with asyncio.Runner() as runner:
        runner.run(call_in_vain())
        gone = leave_behind()
        runner.run(call_in_vain())
        gc.collect()
        assert [ref() for ref in gone] == [None, None]
