"""Nothing is left behind."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from batch.backend import Backend, settle, start
from dike_batch import batch


class Row:
    """A row that can be watched."""


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """Let reference counts alone free everything, but for what asyncio itself leaves in cycles."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_container_is_not_kept_while_its_call_waits() -> None:
    class Rows(list[Any]):
        pass

    backend = Backend()
    rows = Rows([1, 2])
    gone = weakref.ref(rows)
    [call] = await backend.start(rows)
    del rows
    assert gone() is None
    call.cancel()


async def test_the_rows_of_a_cancelled_caller_are_not_kept_even_if_others_wait() -> None:
    backend = Backend()
    await backend.start([0])
    row = Row()
    gone = weakref.ref(row)
    [call] = await backend.start([row, row])
    del row
    call.cancel()
    await settle()
    del call
    assert gone() is None


@pytest.mark.parametrize("options", [{}, {"max_batch_size": 2}, {"dispatch_when_idle": True}])
async def test_rows_and_results_are_gone_after_the_call(options: dict[str, Any]) -> None:
    backend = Backend(target_batch_size=2, max_waiting_time=1, **options)
    row = Row()
    gone = weakref.ref(row)
    await asyncio.gather(backend.call([row, row, row]), backend.call([row]))
    backend.batches.clear()
    del row
    await settle()
    assert gone() is None


async def test_rows_and_exceptions_are_gone_after_a_failure() -> None:
    @batch(target_batch_size=2, max_waiting_time=1)
    async def failing(rows: list[Any]) -> list[Any]:
        raise FunctionError

    class FunctionError(Exception):
        pass

    async def call(row: Row) -> weakref.ref[BaseException]:
        try:
            await failing([row])
        except FunctionError as error:
            return weakref.ref(error)
        raise AssertionError

    row = Row()
    gone = [weakref.ref(row), *await asyncio.gather(call(row), call(row))]
    del row
    assert [ref() for ref in gone] == [None] * 3


async def test_rows_are_gone_after_a_timeout() -> None:
    @batch(target_batch_size=1, max_waiting_time=1, max_processing_time=1)
    async def slow(rows: list[Any]) -> list[Any]:
        await asyncio.sleep(100)
        return rows

    row = Row()
    gone = weakref.ref(row)
    with pytest.raises(TimeoutError):
        await slow([row])
    del row
    await settle()
    gc.collect()  # the cancelled sleep is in a cycle of its own
    assert gone() is None


async def test_no_timer_and_no_task_is_left() -> None:
    backend = Backend(1, target_batch_size=3, max_waiting_time=50, max_processing_time=100, max_concurrent_batches=1)
    tasks = await backend.start(*[[i] for i in range(8)])
    tasks[6].cancel()
    tasks[7].cancel()
    await asyncio.gather(*tasks[:6])
    await settle()
    assert backend.call.batch_info()[3:5] == (0, 0)
    loop: Any = asyncio.get_running_loop()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_groups_that_are_ready_and_then_cancelled_do_not_pile_up_behind_a_busy_backend() -> None:
    @batch(target_batch_size=1, max_waiting_time=1, max_concurrent_batches=1, group_by=["group"])
    async def function(rows: list[Any], group: Any) -> list[Any]:
        await asyncio.sleep(1000)
        return rows

    busy = start(function([0], "busy"))
    await settle()
    groups: list[weakref.ref[Row]] = []
    for _ in range(50):
        group = Row()
        groups.append(weakref.ref(group))
        call = start(function([0], group))
        await settle()
        call.cancel()
        await settle()
    del group, call
    assert sum(ref() is not None for ref in groups) < 5
    busy.cancel()


async def test_a_batch_is_held_while_it_runs() -> None:
    ended = []

    @batch(target_batch_size=1, max_waiting_time=1)
    async def function(rows: list[int]) -> list[int]:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, future.set_result, None)
        await future
        ended.append(rows)
        return rows

    call = start(function([1]))
    await settle()
    gc.collect()
    assert await call == [1]
    assert ended == [[1]]
