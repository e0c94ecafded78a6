"""`batch_info` and `flush`."""

import asyncio
import pickle
from typing import Any

import pytest
from batch.backend import Backend, settle, start
from dike_batch import BatchInfo, batch


async def test_the_figures_follow_the_calls() -> None:
    backend = Backend(None, target_batch_size=4, max_waiting_time=1)
    assert backend.call.batch_info() == BatchInfo(
        calls=0, rows=0, batches=0, waiting_rows=0, running_batches=0, cancelled=0
    )
    first, second = await backend.start([0, 0], [1])
    assert backend.call.batch_info() == BatchInfo(2, 3, 0, 3, 0, 0)
    second.cancel()
    await settle()
    assert backend.call.batch_info() == BatchInfo(2, 3, 0, 2, 0, 1)
    [third] = await backend.start([2, 2])
    assert backend.call.batch_info() == BatchInfo(3, 5, 1, 0, 1, 1)
    await backend.start([3])
    third.cancel()
    await settle()
    assert backend.call.batch_info() == BatchInfo(4, 6, 1, 1, 1, 2)
    await backend.end(0)
    assert await first == [0, 0]
    assert backend.call.batch_info() == BatchInfo(4, 6, 1, 1, 0, 2)


async def test_a_caller_that_has_its_result_finds_its_batch_ended() -> None:
    backend = Backend(target_batch_size=1)
    await backend.call([0])
    assert backend.call.batch_info().running_batches == 0


async def test_refused_calls_do_not_count() -> None:
    backend = Backend()
    for bad in ([], None):
        with pytest.raises((TypeError, ValueError)):
            await backend.call(bad)
    with pytest.raises(TypeError):
        await backend.call()
    assert backend.call.batch_info() == (0,) * 6


async def test_a_large_call_is_one_call() -> None:
    backend = Backend(target_batch_size=2, max_batch_size=2, max_waiting_time=1)
    [call] = await backend.start([1, 2, 3])
    assert backend.call.batch_info() == BatchInfo(1, 3, 1, 1, 0, 0)
    assert await call == [1, 2, 3]
    assert backend.call.batch_info() == BatchInfo(1, 3, 2, 0, 0, 0)


async def test_the_figures_are_those_of_all_instances_and_outlive_them() -> None:
    class Service:
        @batch(target_batch_size=2, max_waiting_time=1)
        async def method(self, rows: list[int]) -> list[int]:
            return rows

    for _ in range(3):
        await asyncio.gather(Service().method([1, 2]), Service().method([3]))
    assert Service.method.batch_info() == (6, 9, 6, 0, 0, 0)


def test_the_figures_can_be_pickled() -> None:
    info = BatchInfo(1, 2, 3, 4, 5, 6)
    assert pickle.loads(pickle.dumps(info)) == info


async def test_flush_sends_what_waits_and_returns_when_that_is_done() -> None:
    backend = Backend(5)
    tasks = await backend.start([0], [1])
    await backend.call.flush()
    assert asyncio.get_running_loop().time() == 5
    assert all(task.done() for task in tasks)
    assert backend.batches == [[0, 1]]


async def test_flush_returns_at_once_when_nothing_waits() -> None:
    backend = Backend(5, target_batch_size=1)
    await backend.call.flush()
    await backend.start([0])
    await backend.call.flush()
    assert asyncio.get_running_loop().time() == 0
    await asyncio.sleep(10)
    await backend.call.flush()


async def test_flush_does_not_wait_for_what_comes_later() -> None:
    backend = Backend(5)
    await backend.start([0])
    flush = start(backend.call.flush())
    await settle()
    [later] = await backend.start([1])
    await flush
    assert backend.batches == [[0]]
    assert not later.done()
    await backend.call.flush()
    assert await later == [1]


async def test_flush_waits_its_turn() -> None:
    backend = Backend(5, max_concurrent_batches=1, max_batch_size=2)
    await backend.start([0], [1], [2])
    await asyncio.gather(backend.call.flush(), backend.call.flush())
    assert backend.sent_at == [0, 5]
    assert backend.batches == [[0, 1], [2]]
    assert asyncio.get_running_loop().time() == 10


async def test_while_flush_waits_its_turn_later_calls_may_come_along_but_are_not_forced() -> None:
    backend = Backend(5, max_concurrent_batches=1, max_batch_size=3)
    await backend.start([0])
    first = start(backend.call.flush())
    await settle()
    await backend.start([1])
    second = start(backend.call.flush())
    await settle()
    late = await backend.start([2], [3], [4])
    await asyncio.wait([first, second])
    assert backend.batches == [[0], [1, 2, 3]]
    assert [task.done() for task in late] == [True, True, False]


async def test_flush_never_raises_the_error_of_a_batch() -> None:
    @batch(target_batch_size=10, max_waiting_time=10)
    async def failing(rows: list[int]) -> list[int]:
        raise KeyError

    call = start(failing([1]))
    await settle()
    await failing.flush()
    assert isinstance(call.exception(), KeyError)


async def test_cancelling_flush_cancels_nothing() -> None:
    backend = Backend(5)
    tasks = await backend.start([0], [1])
    flush = start(backend.call.flush())
    await settle()
    flush.cancel()
    await settle()
    assert flush.cancelled()
    assert [await task for task in tasks] == [[0], [1]]


async def test_callers_cancelled_meanwhile_do_not_hold_up_flush() -> None:
    backend = Backend(None, max_concurrent_batches=1, target_batch_size=2)
    await backend.start([0, 0])
    tasks = await backend.start([1])
    flush = start(backend.call.flush())
    await settle()
    assert not flush.done()
    tasks[0].cancel()
    await settle()
    assert flush.done()


async def test_flush_sends_all_groups_and_all_instances_the_oldest_first() -> None:
    sent: list[Any] = []

    class Service:
        @batch(
            target_batch_size=10, max_waiting_time=10, max_concurrent_batches=1, max_batch_size=10, group_by=["group"]
        )
        async def method(self, rows: list[int], group: str) -> list[int]:
            sent.append((asyncio.get_running_loop().time(), group, rows))
            await asyncio.sleep(1)
            return rows

    one, other = Service(), Service()
    for i, (service, group) in enumerate([(one, "b"), (other, "x"), (one, "a"), (one, "b")]):
        start(service.method([i], group))
    await settle()
    await Service.method.flush()
    assert sent == [(0, "b", [0, 3]), (0, "x", [1]), (1, "a", [2])]
    assert asyncio.get_running_loop().time() == 2


async def test_flush_waits_for_all_pieces_of_a_call() -> None:
    backend = Backend(1, max_batch_size=2, max_concurrent_batches=1)
    [call] = await backend.start([1, 2, 3, 4, 5])
    await backend.call.flush()
    assert await call == [1, 2, 3, 4, 5]
    assert asyncio.get_running_loop().time() == 3


async def test_flush_may_be_called_when_idle_dispatch_is_about_to_come() -> None:
    backend = Backend(1, dispatch_when_idle=True)
    call = start(backend.call([0]))
    await asyncio.sleep(0)
    await backend.call.flush()
    assert await call == [0]
    assert backend.batches == [[0]]
