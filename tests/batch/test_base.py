"""What users of the older dike rely on."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from batch.backend import start
from dike_batch import batch

INCONSISTENT = "^Inconsistent use of positional and keyword arguments$"
EMPTY = "^Function called with empty collections as arguments$"

Make = Callable[[list[Any]], Any]


@pytest.fixture(params=["list", "numpy"])
def argument_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(argument_type: str) -> Make:
    """Make a container of rows."""
    return list if argument_type == "list" else np.array


@pytest.fixture
def add(argument_type: str) -> Any:
    @batch(target_batch_size=3, max_waiting_time=1, argument_type=argument_type)
    async def add(a: Any, b: Any) -> Any:
        add.batches.append((list(a), list(b)))
        return [x + y for x, y in zip(a, b, strict=True)] if argument_type == "list" else a + b

    add.batches = []
    return add


async def test_concurrent_calls_become_one_whose_rows_come_in_order_of_arrival(add: Any, make: Make) -> None:
    await asyncio.gather(add(make([1]), make([10])), add(make([2, 3]), make([20, 30])))
    assert add.batches == [([1, 2, 3], [10, 20, 30])]


async def test_each_caller_gets_the_slice_of_its_rows_in_the_same_container_type(add: Any, make: Make) -> None:
    results = await asyncio.gather(add(make([1]), make([10])), add(make([2, 3]), make([20, 30])))
    assert [type(result) for result in results] == [type(make([1]))] * 2
    assert [list(result) for result in results] == [[11], [22, 33]]


async def test_a_batch_leaves_when_the_target_is_reached(add: Any, make: Make) -> None:
    await asyncio.gather(*[add(make([i]), make([i])) for i in range(6)])
    assert asyncio.get_running_loop().time() == 0
    assert add.batches == [([0, 1, 2], [0, 1, 2]), ([3, 4, 5], [3, 4, 5])]


async def test_a_batch_leaves_after_the_waiting_time(add: Any, make: Make) -> None:
    await add(make([1]), make([2]))
    assert asyncio.get_running_loop().time() == 1


async def test_a_batch_may_exceed_the_target(add: Any, make: Make) -> None:
    await asyncio.gather(add(make([1, 2]), make([1, 2])), add(make([3, 4, 5]), make([3, 4, 5])))
    assert add.batches == [([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])]


async def test_arguments_may_be_passed_by_keyword_in_any_order(add: Any, make: Make) -> None:
    results = await asyncio.gather(add(a=make([1]), b=make([10])), add(b=make([20, 30]), a=make([2, 3])))
    assert [list(result) for result in results] == [[11], [22, 33]]


async def test_unlike_use_of_keywords_is_an_error_of_that_caller_only(add: Any, make: Make) -> None:
    first = start(add(make([1]), make([10])))
    await asyncio.sleep(0)
    for call in (
        add(make([2]), b=make([2])),
        add(a=make([2]), b=make([2])),
        add(make([2])),
        add(make([2]), make([2]), make([2])),
        add(make([2]), make([2]), c=make([2])),
    ):
        with pytest.raises(ValueError, match=INCONSISTENT):
            await call
    assert list(await first) == [11]


async def test_calls_may_change_their_use_of_keywords_when_none_wait(add: Any, make: Make) -> None:
    assert list(await add(make([1]), make([10]))) == [11]
    assert list(await add(make([1]), b=make([10]))) == [11]
    assert list(await add(b=make([1]), a=make([10]))) == [11]


async def test_an_optional_argument_that_others_do_not_pass_is_an_error_of_that_caller(
    make: Make, argument_type: str
) -> None:
    @batch(target_batch_size=3, max_waiting_time=1, argument_type=argument_type)
    async def function(a: Any, b: Any = None) -> Any:
        return a if b is None else b

    first = start(function(make([1])))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match=INCONSISTENT):
        await function(make([2]), make([3]))
    with pytest.raises(ValueError, match=INCONSISTENT):
        await function(make([2]), b=make([3]))
    assert list(await first) == [1]
    assert list(await function(make([2]), make([3]))) == [3]


async def test_empty_arguments_are_an_error_of_that_caller_only(add: Any, make: Make) -> None:
    first = start(add(make([1]), make([10])))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match=EMPTY):
        await add(make([]), make([]))
    assert list(await first) == [11]


async def test_an_empty_argument_is_an_error_of_that_caller_also_if_it_is_the_only_one(
    make: Make, argument_type: str
) -> None:
    @batch(target_batch_size=100, max_waiting_time=1, argument_type=argument_type)
    async def function(rows: Any) -> Any:
        return rows

    with pytest.raises(ValueError, match=EMPTY):
        await function(make([]))
    first = start(function(make([1.5])))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match=EMPTY):
        await function(make([]))
    assert list(await first) == [1.5]
    assert function.batch_info().calls == 1


async def test_a_call_without_arguments_has_empty_arguments() -> None:
    @batch(target_batch_size=1, max_waiting_time=1)
    async def function() -> list[int]:
        return []

    with pytest.raises(ValueError, match=EMPTY):
        await function()


async def test_arguments_of_unequal_length_are_an_error_of_that_caller_only(add: Any, make: Make) -> None:
    first = start(add(make([1]), make([10])))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match=r"^All arguments must have the same length, but got a=2, b=1$"):
        await add(make([1, 2]), make([1]))
    with pytest.raises(ValueError, match=r"^All arguments must have the same length, but got a=0, b=1$"):
        await add(make([]), make([1]))
    assert list(await first) == [11]


async def test_the_functions_exception_reaches_every_caller_of_its_batch(make: Make, argument_type: str) -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type=argument_type)
    async def function(rows: Any) -> Any:
        if 0 in rows:
            raise KeyError("zero")
        return rows

    results = await asyncio.gather(*[function(make([i])) for i in range(4)], return_exceptions=True)
    assert [repr(result) for result in results[:2]] == ["KeyError('zero')"] * 2
    assert [list(result) for result in results[2:]] == [[2], [3]]


async def test_a_call_that_does_not_fit_the_signature_is_a_type_error(add: Any, make: Make) -> None:
    with pytest.raises(TypeError, match=r"^add\(\): missing a required argument: 'b'$"):
        await add(make([1]))
    with pytest.raises(TypeError, match=r"^add\(\): got an unexpected keyword argument 'c'$"):
        await add(make([1]), make([1]), c=make([1]))
    with pytest.raises(TypeError, match=r"^add\(\): too many positional arguments$"):
        await add(make([1]), make([1]), make([1]))


async def test_any_iterable_is_a_list_of_rows() -> None:
    @batch(target_batch_size=6, max_waiting_time=1)
    async def function(rows: list[Any]) -> list[Any]:
        assert type(rows) is list
        return rows

    calls = function((1, 2)), function(range(2)), function(x for x in "a"), function(np.array([7]))
    assert await asyncio.gather(*calls) == [[1, 2], [0, 1], ["a"], [7]]


async def test_whatever_numpy_makes_an_array_is_an_array_of_rows() -> None:
    @batch(target_batch_size=3, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        assert type(rows) is np.ndarray
        return rows

    first, second = await asyncio.gather(function([1, 2]), function((3,)))
    assert [*first, *second] == [1, 2, 3]


@pytest.mark.parametrize("value", [3, None])
async def test_an_argument_without_rows_is_a_type_error_of_that_caller(add: Any, make: Make, value: Any) -> None:
    first = start(add(make([1]), make([10])))
    await asyncio.sleep(0)
    with pytest.raises(TypeError):
        await add(value, make([1]))
    assert list(await first) == [11]


async def test_variable_arguments_are_batched_one_by_one() -> None:
    @batch(target_batch_size=2, max_waiting_time=1)
    async def function(*columns: list[int], **named: list[int]) -> dict[str, list[Any]]:
        return {"columns": list(zip(*columns, strict=True)), **named}

    first, second = await asyncio.gather(function([1], [2], z=[3], y=[4]), function([5], [6], y=[7], z=[8]))
    assert first == {"columns": [(1, 2)], "z": [3], "y": [4]}
    assert second == {"columns": [(5, 6)], "z": [8], "y": [7]}
    with pytest.raises(ValueError, match=r"^All arguments must have the same length, but got columns\[0\]=1, y=2$"):
        await function([1], y=[1, 2])


async def test_ways_to_pass_arguments_are_not_remembered_without_end() -> None:
    @batch(target_batch_size=1, max_waiting_time=1)
    async def forms(**columns: list[int]) -> list[int]:
        return next(iter(columns.values()))

    function: Any = forms
    for i in range(300):
        assert await function(**{f"x{i}": [i]}) == [i]
    assert await asyncio.gather(function(x299=[1]), function(x299=[2])) == [[1], [2]]
    submit = function.__closure__[function.__code__.co_freevars.index("submit")].cell_contents
    assert len(submit.__self__._binding.forms) <= 256
