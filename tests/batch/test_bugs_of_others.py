"""Bugs that other batchers have or had."""

import asyncio
from typing import Any

import pytest
from batch.backend import Backend, settle, start
from dike_batch import batch


async def test_ray_41057_batching_goes_on_after_a_caller_went_away() -> None:
    backend = Backend(1, target_batch_size=2, max_waiting_time=1)
    for i in range(5):
        gone, stays = await backend.start([i], [-i])
        gone.cancel()
        assert await stays == [-i]


async def test_ray_50046_cancellations_never_leave_the_batcher_stuck() -> None:
    backend = Backend(1, target_batch_size=2, max_waiting_time=1, max_concurrent_batches=1, dispatch_when_idle=True)
    for _ in range(20):
        tasks = await backend.start(*[[i] for i in range(7)])
        for task in tasks:
            task.cancel()
        await settle()
    assert await backend.call([1]) == [1]
    assert backend.call.batch_info()[3:5] == (0, 0)


async def test_ray_serve_a_busy_backend_does_not_get_batches_of_one() -> None:
    """They close a batch before it has a free slot."""
    backend = Backend(10, target_batch_size=8, max_waiting_time=0.5, max_batch_size=8, max_concurrent_batches=1)
    tasks = []
    for i in range(24):
        tasks.append(start(backend.call([i])))
        await asyncio.sleep(1)
    await asyncio.wait(tasks)
    assert [len(rows) for rows in backend.batches] == [1, 8, 8, 7]


@pytest.mark.parametrize("where", ["raised", "cancelled from within"])
async def test_ray_async_batcher_batched_aiodataloader_a_cancelled_error_does_not_hang_the_callers(where: str) -> None:
    @batch(target_batch_size=2, max_waiting_time=1)
    async def function(rows: list[int]) -> list[int]:
        if where == "raised":
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(10)
        return rows

    async with asyncio.timeout(5):
        errors = await asyncio.gather(function([1]), function([2]), return_exceptions=True)
    assert [type(error) for error in errors] == [RuntimeError, RuntimeError]


async def test_ray_56633_requests_for_different_models_are_not_mixed() -> None:
    @batch(target_batch_size=4, max_waiting_time=1, group_by=["model"])
    async def predict(rows: list[int], model: str) -> list[str]:
        return [f"{model}{row}" for row in rows]

    models = ["a", "b", "a", "c", "b", "b", "a"]
    results = await asyncio.gather(*[predict([i], model) for i, model in enumerate(models)])
    assert results == [[f"{model}{i}"] for i, model in enumerate(models)]


async def test_bentoml_3710_the_maximum_counts_for_one_large_call_too() -> None:
    backend = Backend(target_batch_size=4, max_waiting_time=1, max_batch_size=4)
    assert await backend.call(list(range(10))) == list(range(10))
    assert [len(rows) for rows in backend.batches] == [4, 4, 2]


async def test_dike_1_arguments_of_unequal_length_do_not_shift_the_rows_of_others() -> None:
    @batch(target_batch_size=3, max_waiting_time=1)
    async def pairs(a: list[int], b: list[int]) -> list[Any]:
        return list(zip(a, b, strict=True))

    results = await asyncio.gather(pairs([1], [1]), pairs([2, 2], [2]), pairs([3], [3]), return_exceptions=True)
    assert results[0] == [(1, 1)]
    assert isinstance(results[1], ValueError)
    assert results[2] == [(3, 3)]


def test_ray_async_batcher_batched_a_second_run_works() -> None:
    backend = Backend(target_batch_size=2, max_waiting_time=0.01)

    async def main() -> list[list[int]]:
        return await asyncio.gather(*[backend.call([i]) for i in range(3)])

    assert [asyncio.run(main()) for _ in range(3)] == [[[0], [1], [2]]] * 3


async def test_ray_a_methods_call_does_not_run_on_another_instance() -> None:
    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

        @batch(target_batch_size=4, max_waiting_time=1)
        async def predict(self, rows: list[int]) -> list[str]:
            return [f"{self.name}{row}" for row in rows]

    one, other = Model("one"), Model("other")
    calls = [model.predict([i]) for i, model in enumerate([one, other, other, one])]
    assert await asyncio.gather(*calls) == [["one0"], ["other1"], ["other2"], ["one3"]]


async def test_a_function_does_not_run_on_for_nobody() -> None:
    backend = Backend(1000, target_batch_size=1, max_waiting_time=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(backend.call([1]), 1)
    await settle()
    assert backend.running == 0
