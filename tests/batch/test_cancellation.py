"""Callers that go away, and functions that take too long."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from batch.backend import Backend, settle, start
from dike_batch import batch


async def test_a_cancelled_caller_that_waits_is_removed_with_its_rows() -> None:
    backend = Backend(target_batch_size=3, max_waiting_time=10)
    first, second = await backend.start([0], [1])
    first.cancel()
    await settle()
    assert backend.call.batch_info().waiting_rows == 1
    await backend.start([2])
    assert backend.batches == []
    await backend.start([3])
    assert backend.batches == [[1, 2, 3]]
    assert first.cancelled()
    assert await second == [1]


async def test_the_deadline_is_then_that_of_the_next_oldest() -> None:
    backend = Backend(max_waiting_time=10)
    [first] = await backend.start([0])
    await asyncio.sleep(4)
    await backend.start([1])
    first.cancel()
    await asyncio.sleep(20)
    assert backend.sent_at == [14]


async def test_when_all_that_wait_are_cancelled_nothing_is_sent() -> None:
    backend = Backend(max_waiting_time=10, dispatch_when_idle=True)
    tasks = [start(backend.call([i])) for i in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.sleep(20)
    assert backend.batches == []
    assert backend.call.batch_info() == (3, 3, 0, 0, 0, 3)


async def test_once_the_batch_runs_its_siblings_are_untouched() -> None:
    backend = Backend(None, target_batch_size=3)
    first, second, third = await backend.start([0], [1], [2])
    first.cancel()
    third.cancel()
    await settle()
    assert backend.running == 1
    await backend.end(0)
    assert await second == [1]
    assert first.cancelled()
    assert third.cancelled()


async def test_when_the_last_caller_has_gone_the_batch_is_cancelled() -> None:
    backend = Backend(None, target_batch_size=3)
    tasks = await backend.start([0], [1], [2])
    for task in tasks:
        assert backend.running == 1
        task.cancel()
        await settle()
    assert backend.running == 0
    assert backend.call.batch_info() == (3, 3, 1, 0, 0, 3)


async def test_a_batch_that_has_not_begun_when_its_last_caller_goes_never_begins() -> None:
    backend = Backend(target_batch_size=2, max_concurrent_batches=1)
    calls = [backend.call([i]) for i in range(2)]
    for call in calls:
        call.send(None)
    for call in calls:
        call.close()
    await settle()
    assert backend.batches == []
    assert backend.call.batch_info().batches == 1
    assert backend.call.batch_info().running_batches == 0
    assert await asyncio.gather(backend.call([2]), backend.call([3])) == [[2], [3]]


async def test_an_abandoned_batch_keeps_its_slot_until_the_function_ends() -> None:
    sent = []

    @batch(target_batch_size=1, max_waiting_time=1, max_concurrent_batches=1, max_processing_time=None)
    async def stubborn(rows: list[int]) -> list[int]:
        sent.append(rows)
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(5)
        return rows

    first = start(stubborn([0]))
    await asyncio.sleep(1)
    first.cancel()
    second = start(stubborn([1]))
    await asyncio.sleep(4.5)
    assert first.cancelled()
    assert (sent, stubborn.batch_info().running_batches) == ([[0]], 1)
    await asyncio.sleep(1)
    assert sent == [[0], [1]]
    assert await second == [1]


async def test_after_the_processing_time_every_caller_gets_a_timeout_of_its_own_at_once() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, max_processing_time=timedelta(seconds=3))
    async def slow(rows: list[int]) -> list[int]:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(100)
        return rows

    first, second = await asyncio.gather(slow([0]), slow([1]), return_exceptions=True)
    assert asyncio.get_running_loop().time() == 3
    assert type(first) is type(second) is TimeoutError
    assert first is not second
    assert str(first) == "a batch of slow() took longer than max_processing_time=3 seconds"
    assert slow.batch_info().running_batches == 1
    await asyncio.sleep(101)
    assert slow.batch_info().running_batches == 0


async def test_after_the_processing_time_the_function_is_cancelled() -> None:
    backend = Backend(100, target_batch_size=1, max_processing_time=3)
    with pytest.raises(TimeoutError):
        await backend.call([0])
    await settle()
    assert backend.running == 0


async def test_the_processing_time_counts_from_dispatch() -> None:
    backend = Backend(2, target_batch_size=1, max_batch_size=1, max_concurrent_batches=1, max_processing_time=3)
    assert await asyncio.gather(*[backend.call([i]) for i in range(3)]) == [[0], [1], [2]]


async def test_the_processing_time_is_10_seconds_by_default() -> None:
    @batch(target_batch_size=1, max_waiting_time=1)
    async def slow(rows: list[int]) -> list[int]:
        await asyncio.sleep(rows[0])
        return rows

    assert await slow([9]) == [9]
    with pytest.raises(TimeoutError):
        await slow([11])


@pytest.mark.parametrize("limit", [None, float("inf")])
async def test_the_processing_time_may_be_without_limit(limit: float | None) -> None:
    backend = Backend(1e6, target_batch_size=1, max_processing_time=limit)
    assert await backend.call([0]) == [0]


async def test_a_slot_frees_when_the_function_that_took_too_long_really_ends() -> None:
    running = most = 0

    @batch(target_batch_size=1, max_waiting_time=1, max_concurrent_batches=1, max_processing_time=1)
    async def stubborn(rows: list[int]) -> list[int]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(4)
        finally:
            running -= 1
        return rows

    tasks = [start(stubborn([i])) for i in range(3)]
    await asyncio.wait(tasks)
    assert most == 1
    assert [type(task.exception()) for task in tasks] == [TimeoutError] * 3
    assert asyncio.get_running_loop().time() == 6


async def test_what_the_function_comes_to_after_its_time_does_not_matter() -> None:
    outcomes = [KeyError("late"), asyncio.CancelledError(), None]

    @batch(target_batch_size=1, max_waiting_time=1, max_processing_time=1)
    async def late(rows: list[int]) -> list[int]:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            outcome = outcomes.pop()
            if outcome:
                raise outcome from None
        return rows

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await late([1])
        await settle()
    assert outcomes == []


async def test_a_result_that_is_just_in_time_counts() -> None:
    backend = Backend(2.999, target_batch_size=1, max_processing_time=3)
    assert await backend.call([0]) == [0]
    await asyncio.sleep(10)


async def test_a_caller_with_a_timeout_of_its_own_leaves_the_others_alone() -> None:
    backend = Backend(5, target_batch_size=2)

    async def impatient() -> None:
        async with asyncio.timeout(1):
            await backend.call([0])

    patient = start(backend.call([1]))
    with pytest.raises(TimeoutError):
        await impatient()
    assert await patient == [1]


async def test_wait_for_leaves_the_others_alone() -> None:
    backend = Backend(5, target_batch_size=2)
    patient = start(backend.call([1]))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(backend.call([0]), 1)
    assert await patient == [1]


async def test_a_caller_cancelled_after_its_result_has_come_is_cancelled() -> None:
    backend = Backend(None, target_batch_size=1)
    [task] = await backend.start([0])
    backend._gates[0].set_result(None)
    while backend.call.batch_info().running_batches:
        await asyncio.sleep(0)
    task.cancel()
    await settle()
    assert task.cancelled()
    assert backend.call.batch_info().cancelled == 1


async def test_a_call_that_is_closed_by_hand_is_removed() -> None:
    backend = Backend(target_batch_size=2)
    call = backend.call([0])
    call.send(None)
    assert backend.call.batch_info().waiting_rows == 1
    call.close()
    assert backend.call.batch_info() == (1, 1, 0, 0, 0, 1)
    assert await asyncio.gather(backend.call([1]), backend.call([2])) == [[1], [2]]


async def test_thousands_of_cancelled_callers_leave_no_shells_in_the_queue() -> None:
    backend = Backend()
    [oldest] = await backend.start([0])
    for _ in range(50):
        tasks = await backend.start(*[[i] for i in range(100)])
        for task in tasks:
            task.cancel()
        await settle()
    assert backend.call.batch_info() == (5001, 5001, 0, 1, 0, 5000)
    assert len(queue_of(backend).entries) <= 2
    await backend.call.flush()
    assert await oldest == [0]


def queue_of(backend: Backend) -> Any:
    """Return the only queue, from inside."""
    submit = backend.call.__closure__[backend.call.__code__.co_freevars.index("submit")].cell_contents
    [state] = submit.__self__._states.values()
    [dispatcher] = state.dispatchers.values()
    [queue] = dispatcher.queues.values()
    return queue


async def test_calls_in_the_middle_of_the_queue_leave_in_any_order() -> None:
    backend = Backend()
    tasks = await backend.start(*[[i] for i in range(20)])
    for i in (3, 0, 19, 1, 2, 10, 4, 12, 11, 5, 6, 7, 8):
        tasks[i].cancel()
        await settle()
    await backend.call.flush()
    assert backend.batches == [[9, 13, 14, 15, 16, 17, 18]]
