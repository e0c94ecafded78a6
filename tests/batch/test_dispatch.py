"""When a batch leaves, and what is in it."""

import asyncio
import contextvars
from datetime import timedelta
from typing import Any

import pytest
from batch.backend import Backend, settle, start
from dike_batch import batch


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_waiting_time_is_that_of_the_oldest_call() -> None:
    backend = Backend(max_waiting_time=timedelta(seconds=3))
    for i in range(3):
        await backend.start([i])
        await asyncio.sleep(1.25)
    assert backend.sent_at == [3]
    assert backend.batches == [[0, 1, 2]]


async def test_reaching_the_target_dispatches_at_once() -> None:
    backend = Backend(None, target_batch_size=2)
    [first] = await backend.start([0])
    second = start(backend.call([1]))
    await asyncio.sleep(0)  # one turn of the loop: the second call has come, and nothing else has happened
    assert backend.call.batch_info().running_batches == 1
    await settle()
    await backend.end(0)
    assert (await first, await second) == ([0], [1])


async def test_the_target_of_one_queue_does_not_empty_the_other() -> None:
    backend = Backend(None, target_batch_size=2, argument_type="numpy")
    await backend.start([1], [0.5], [2])
    assert backend.batches == [[1, 2]]
    assert backend.call.batch_info().waiting_rows == 1


async def test_at_most_max_concurrent_batches_run() -> None:
    backend = Backend(1, target_batch_size=1, max_batch_size=1, max_concurrent_batches=3)
    await asyncio.gather(*[backend.call([i]) for i in range(10)])
    assert backend.most == 3
    assert backend.sent_at == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


async def test_while_the_backend_is_busy_the_next_batch_keeps_filling() -> None:
    backend = Backend(None, target_batch_size=2, max_waiting_time=1, max_concurrent_batches=1)
    await backend.start([0], [1])
    await backend.start([2], [3], [4])
    await asyncio.sleep(5)
    await backend.start([5])
    await backend.end(0)
    assert backend.batches == [[0, 1], [2, 3, 4, 5]]


async def test_a_call_that_waited_long_enough_leaves_when_a_batch_ends() -> None:
    backend = Backend(None, max_waiting_time=1, max_concurrent_batches=1)
    await backend.start([0])
    await asyncio.sleep(1.5)
    await backend.start([1])
    await asyncio.sleep(0.5)
    await backend.end(0)
    assert backend.batches == [[0]]
    await asyncio.sleep(0.5)
    assert backend.batches == [[0], [1]]
    assert backend.sent_at == [1, 2.5]
    await backend.start([2])
    await asyncio.sleep(2)
    await backend.end(1)
    assert backend.sent_at == [1, 2.5, 4.5]


async def test_without_a_cap_batches_leave_while_others_run() -> None:
    backend = Backend(None, target_batch_size=1)
    await backend.start([0], [1], [2])
    assert backend.batches == [[0], [1], [2]]


async def test_when_idle_one_gather_makes_one_batch() -> None:
    backend = Backend(1, dispatch_when_idle=True)
    await asyncio.gather(*[backend.call([i]) for i in range(5)])
    assert backend.batches == [[0, 1, 2, 3, 4]]
    assert backend.sent_at == [0]


async def test_when_idle_calls_during_a_batch_leave_when_it_ends() -> None:
    backend = Backend(None, dispatch_when_idle=True)
    await backend.start([0])
    await backend.start([1], [2])
    assert backend.batches == [[0]]
    await backend.end(0)
    assert backend.batches == [[0], [1, 2]]


async def test_idle_means_that_nothing_runs_not_that_there_is_room() -> None:
    backend = Backend(None, dispatch_when_idle=True, max_concurrent_batches=2, max_waiting_time=1)
    await backend.start([0])
    await backend.start([1])
    assert backend.batches == [[0]]
    await asyncio.sleep(1)
    assert backend.batches == [[0], [1]]


async def test_when_idle_the_target_still_dispatches_during_a_batch() -> None:
    backend = Backend(None, dispatch_when_idle=True, target_batch_size=2)
    await backend.start([0])
    await backend.start([1], [2])
    assert backend.batches == [[0], [1, 2]]


async def test_when_idle_the_next_callers_of_a_batch_that_ends_share_one() -> None:
    backend = Backend(1, dispatch_when_idle=True, max_concurrent_batches=1)

    async def client(name: int) -> None:
        for _ in range(3):
            await backend.call([name])

    await asyncio.gather(*map(client, range(4)))
    assert backend.batches == [[0, 1, 2, 3]] * 3


async def test_a_loop_that_runs_for_a_single_call_needs_no_waiting_time() -> None:
    backend = Backend(dispatch_when_idle=True, max_concurrent_batches=1)
    assert [await backend.call([i]) for i in range(3)] == [[0], [1], [2]]
    assert now() == 0


async def test_of_several_ready_queues_the_one_with_the_oldest_call_goes_first() -> None:
    sent = []

    @batch(target_batch_size=2, max_waiting_time=100, max_concurrent_batches=1, group_by=["group"])
    async def function(rows: list[int], group: str) -> list[int]:
        sent.append(group)
        await asyncio.sleep(1)
        return rows

    tasks = [start(function([0, 0], "running"))]
    await asyncio.sleep(0.1)
    for group in "abcab":
        tasks.append(start(function([0], group)))
        await asyncio.sleep(0)
    tasks.append(start(function([0, 0], "d")))
    await asyncio.sleep(0)
    tasks.append(start(function([0], "c")))
    await asyncio.gather(*tasks)
    assert sent == ["running", "a", "b", "c", "d"]


async def test_a_call_that_was_cancelled_does_not_make_its_queue_older() -> None:
    sent = []

    @batch(target_batch_size=10, max_waiting_time=1, max_concurrent_batches=1, group_by=["group"])
    async def function(rows: list[int], group: str) -> list[int]:
        sent.append(group)
        await asyncio.sleep(5)
        return rows

    tasks = []
    for group in ("running", "a", "b", "a", "a"):
        tasks.append(start(function([0], group)))
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert sent == ["running", "b", "a"]


async def test_a_timer_that_is_early_by_the_resolution_of_the_clock_counts() -> None:
    loop: Any = asyncio.get_running_loop()
    loop._clock_resolution = 0.01
    backend = Backend(max_waiting_time=1.005)
    call = start(backend.call([0]))
    await asyncio.sleep(1)
    await call
    assert backend.sent_at == [1]


async def test_of_several_idle_groups_the_one_with_the_oldest_call_goes_first() -> None:
    sent = []

    @batch(target_batch_size=100, max_waiting_time=100, max_batch_size=100, dispatch_when_idle=True, group_by=["group"])
    async def function(rows: list[int], group: str) -> list[int]:
        sent.append((group, len(rows)))
        await asyncio.sleep(1)
        return rows

    await asyncio.gather(*[function([0], group) for group in "abcabc"])
    assert sent == [("a", 2), ("b", 2), ("c", 2)]
    assert now() == 3


async def test_no_group_starves_while_another_is_always_full() -> None:
    waited = []

    @batch(target_batch_size=2, max_waiting_time=1, max_concurrent_batches=1, max_batch_size=2, group_by=["group"])
    async def function(rows: list[int], group: str) -> list[int]:
        await asyncio.sleep(1)
        return rows

    async def flood() -> None:
        await function([0, 0], "full")

    async def rare() -> None:
        start_ = now()
        await function([0], "rare")
        waited.append(now() - start_)

    floods = [start(flood()) for _ in range(20)]
    await asyncio.sleep(0.5)
    tasks = [start(rare())]
    for _ in range(20):
        await asyncio.sleep(0.5)
        floods.append(start(flood()))
    await asyncio.gather(*floods, *tasks)
    assert waited == [20.5]  # after those that were there before it, and before all later ones


async def test_a_queue_that_is_ready_no_longer_waits_for_its_time() -> None:
    backend = Backend(None, target_batch_size=2, max_waiting_time=10, max_concurrent_batches=1)
    await backend.start([0, 0])
    first, second = await backend.start([1], [2])
    second.cancel()
    await backend.end(0)
    assert backend.batches == [[0, 0]]
    await asyncio.sleep(10)
    assert backend.batches == [[0, 0], [1]]
    await backend.end(1)
    assert await first == [1]


async def test_a_call_that_counts_no_more_does_not_fill_a_batch_even_before_it_has_left() -> None:
    backend = Backend(None, target_batch_size=3, max_waiting_time=10)
    first, second = await backend.start([0], [1])
    first.cancel()
    third = start(backend.call([2]))
    await settle()
    assert backend.batches == []
    [fourth] = await backend.start([3])
    assert backend.batches == [[1, 2, 3]]
    await backend.end(0)
    assert [await task for task in (second, third, fourth)] == [[1], [2], [3]]
    assert backend.call.batch_info()[:2] == (4, 4)


async def test_each_batch_is_a_task_of_its_own() -> None:
    tasks = []

    @batch(target_batch_size=2, max_waiting_time=1)
    async def function(rows: list[int]) -> list[int]:
        tasks.append(asyncio.current_task())
        return rows

    callers = [start(function([i])) for i in range(4)]
    await asyncio.gather(*callers)
    assert len({*tasks, *callers}) == 6


async def test_a_batch_runs_in_a_copy_of_the_context_of_the_oldest_call() -> None:
    variable = contextvars.ContextVar("variable", default="nobody")
    seen = []

    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2)
    async def function(rows: list[int]) -> list[int]:
        seen.append(variable.get())
        variable.set("the function")
        return rows

    async def caller(name: str, rows: list[int]) -> str:
        variable.set(name)
        await function(rows)
        return variable.get()

    assert await asyncio.gather(caller("a", [1]), caller("b", [2])) == ["a", "b"]
    assert await caller("large", [1, 2, 3, 4, 5]) == "large"
    assert seen == ["a", "large", "large", "large"]


async def test_the_context_is_that_of_the_oldest_call_which_is_still_there() -> None:
    variable = contextvars.ContextVar("variable", default="nobody")
    seen = []

    @batch(target_batch_size=3, max_waiting_time=1)
    async def function(rows: list[int]) -> list[int]:
        seen.append(variable.get())
        return rows

    async def caller(name: str) -> None:
        variable.set(name)
        await function([0])

    first, second = start(caller("a")), start(caller("b"))
    await settle()
    first.cancel()
    await second
    assert seen == ["b"]


@pytest.mark.parametrize("calls", [1, 7, 100])
async def test_a_waiting_queue_has_one_timer(calls: int) -> None:
    backend = Backend(max_waiting_time=1)
    await backend.start(*[[i] for i in range(calls)])
    timers: list[Any] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert len(timers) == 1
    await asyncio.sleep(1)
    await settle()
    assert backend.batches == [list(range(calls))]
