"""A hard cap in rows, and calls that are larger."""

import asyncio
from typing import Any

import numpy as np
import pytest
from batch.backend import Backend, settle, start
from dike_batch import batch


async def test_no_batch_exceeds_the_cap_and_whole_calls_leave_first_in_first_out() -> None:
    backend = Backend(target_batch_size=3, max_batch_size=4)
    results = await asyncio.gather(*[backend.call(rows) for rows in ([0, 0], [1, 1, 1], [2, 2], [3])])
    assert results == [[0, 0], [1, 1, 1], [2, 2], [3]]
    assert backend.batches == [[0, 0], [1, 1, 1], [2, 2, 3]]


async def test_a_batch_takes_as_many_whole_calls_as_fit() -> None:
    backend = Backend(None, target_batch_size=1, max_batch_size=4, max_concurrent_batches=1)
    await backend.start([9], [0], [1, 1], [2], [3, 3, 3], [4])
    await backend.end(0)
    await backend.end(1)
    assert backend.batches == [[9], [0, 1, 1, 2], [3, 3, 3, 4]]


async def test_what_does_not_fit_keeps_its_own_deadline() -> None:
    backend = Backend(max_waiting_time=2, max_batch_size=2)
    await backend.start([0], [0])
    await asyncio.sleep(1)
    await backend.start([1])
    await asyncio.sleep(5)
    assert backend.sent_at == [2, 3]


async def test_a_larger_call_is_cut_into_consecutive_pieces_and_rejoined() -> None:
    backend = Backend(target_batch_size=4, max_batch_size=4)
    assert await backend.call(list(range(12))) == list(range(12))
    assert backend.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


async def test_the_last_piece_may_share_a_batch() -> None:
    backend = Backend(target_batch_size=4, max_batch_size=4)
    results = await asyncio.gather(*[backend.call(rows) for rows in ([0], [1, 2, 3, 4, 5], [6, 7, 8])])
    assert results == [[0], [1, 2, 3, 4, 5], [6, 7, 8]]
    assert backend.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]


async def test_all_arguments_are_cut_alike() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2)
    async def add(a: list[int], b: list[int]) -> list[int]:
        return [x + y for x, y in zip(a, b, strict=True)]

    assert await add([1, 2, 3, 4, 5], b=[10, 20, 30, 40, 50]) == [11, 22, 33, 44, 55]


async def test_what_is_rejoined_is_of_the_argument_type() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2)
    async def arrays(rows: list[int]) -> Any:
        return np.array(rows)

    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2, argument_type="numpy")
    async def lists(rows: Any) -> list[int]:
        return [int(row) for row in rows]

    of_arrays, of_lists = await arrays([1, 2, 3]), await lists(np.array([1, 2, 3]))
    assert (type(of_arrays), of_arrays) == (list, [1, 2, 3])
    assert (type(of_lists), of_lists.tolist()) == (np.ndarray, [1, 2, 3])


async def test_columns_are_rejoined_one_by_one() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2, argument_type="numpy")
    async def columns(rows: Any) -> dict[str, Any]:
        return {"same": rows, "double": 2 * rows}

    result = await columns(np.arange(5))
    assert {name: column.tolist() for name, column in result.items()} == {
        "same": [0, 1, 2, 3, 4],
        "double": [0, 2, 4, 6, 8],
    }


@pytest.mark.parametrize("first", [{"a": [1, 2]}, [1, 2]])
@pytest.mark.parametrize("second", [{"b": [3]}, {"a": [3], "b": [3]}])
async def test_pieces_with_unlike_results_are_an_error_of_that_call(first: Any, second: Any) -> None:
    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2)
    async def columns(rows: list[int]) -> Any:
        return first if len(rows) == 2 else second

    with pytest.raises(ValueError, match="different columns"):
        await columns([1, 2, 3])
    assert await columns([1, 2]) == first


async def test_the_first_failing_piece_fails_the_call_and_its_unsent_pieces_are_dropped() -> None:
    backend = Backend(None, target_batch_size=2, max_batch_size=2, max_concurrent_batches=1)
    large, small = await backend.start([0, 1, 2, 3, 4], [5])
    await backend.end(0)
    await backend.fail(1, KeyError("second piece"))
    assert isinstance(large.exception(), KeyError)
    await asyncio.sleep(1)
    assert backend.batches[:2] == [[0, 1], [2, 3]]
    assert [4] not in backend.batches
    assert not small.done()
    info = backend.call.batch_info()
    assert (info.waiting_rows, info.running_batches) == (1, 0)
    flush = start(backend.call.flush())
    await settle()
    assert backend.batches == [[0, 1], [2, 3], [5]]
    await backend.end(2)
    assert (await small, await flush) == ([5], None)


async def test_a_failed_call_counts_as_gone_in_its_other_batches() -> None:
    backend = Backend(None, target_batch_size=2, max_batch_size=2)
    large, small = await backend.start([0, 1, 2, 3, 4], [5])
    assert backend.batches == [[0, 1], [2, 3], [4, 5]]
    await backend.fail(1, KeyError("second piece"))
    assert isinstance(large.exception(), KeyError)
    assert backend.running == 1  # the first piece was alone in its batch, the last one not
    await backend.end(2)
    assert await small == [5]


async def test_pieces_that_fail_later_change_nothing() -> None:
    backend = Backend(None, target_batch_size=2, max_batch_size=2)
    large, small = await backend.start([0, 1, 2], [3])
    assert backend.batches == [[0, 1], [2, 3]]
    await backend.fail(1, KeyError("last piece"))
    assert isinstance(large.exception(), KeyError)
    assert isinstance(small.exception(), KeyError)
    assert small.exception() is not large.exception()
    assert backend.running == 0


async def test_a_cancelled_call_takes_all_its_pieces_away() -> None:
    backend = Backend(None, target_batch_size=2, max_batch_size=2, max_concurrent_batches=1)
    large, small = await backend.start([0, 1, 2, 3, 4], [5])
    large.cancel()
    await settle()
    assert backend.running == 0
    assert backend.call.batch_info() == (2, 6, 1, 1, 0, 1)
    flush = start(backend.call.flush())
    await settle()
    await backend.end(1)
    await flush
    assert await small == [5]
    assert backend.batches == [[0, 1], [5]]


async def test_a_result_that_cannot_be_rejoined_is_an_error_of_that_call() -> None:
    shapes = iter([(2, 3), (1, 4)])

    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2, argument_type="numpy")
    async def uneven(rows: Any) -> Any:
        return np.zeros(next(shapes))

    with pytest.raises(ValueError, match="must match exactly"):
        await uneven(np.arange(3))


async def test_a_call_with_very_many_pieces_is_quick() -> None:
    backend = Backend(target_batch_size=1, max_batch_size=1, max_concurrent_batches=1)
    assert await backend.call(list(range(2000))) == list(range(2000))
    assert len(backend.batches) == 2000
