"""Items, containers of the user's, and what a function may return."""

import array
import asyncio
from typing import Any, NamedTuple

import numpy as np
import pytest
from batch.backend import settle, start
from dike_batch import ArgumentType, batch


class Column:
    """A container that nobody knows: its slices are views, like those of a tensor."""

    def __init__(self, values: list[Any], start: int = 0, stop: int | None = None) -> None:
        self.base = values
        self.start = start
        self.stop = len(values) if stop is None else stop

    def tolist(self) -> list[Any]:
        return self.base[self.start : self.stop]


class Pair(NamedTuple):
    a: int
    b: int


class Odd:
    """It has a length, but no rows."""

    def __len__(self) -> int:
        return 2


class Columns(ArgumentType):
    def rows(self, value: Column) -> int:
        return value.stop - value.start

    def join(self, values: list[Column]) -> Column:
        return Column([row for value in values for row in value.tolist()])

    def slice(self, value: Column, start: int, stop: int) -> Column:
        return Column(value.base, value.start + start, value.start + stop)


async def test_items_are_joined_to_lists_and_each_caller_gets_one() -> None:
    seen = []

    @batch(target_batch_size=3, max_waiting_time=1, argument_type="item")
    async def add(a: list[int], b: list[int]) -> list[int]:
        seen.append((a, b))
        return [x + y for x, y in zip(a, b, strict=True)]

    assert await asyncio.gather(*[add(i, 10 * i) for i in range(4)]) == [0, 11, 22, 33]
    assert seen == [([0, 1, 2], [0, 10, 20]), ([3], [30])]


async def test_an_item_may_be_anything() -> None:
    @batch(target_batch_size=3, max_waiting_time=1, argument_type="item")
    async def same(items: list[Any]) -> list[Any]:
        return items

    items: list[Any] = [None, [], {"a": 1}, (1, 2), "text", ValueError, np.zeros((2, 2)), 5]
    results = await asyncio.gather(*map(same, items))
    assert all(result is item for result, item in zip(results, items, strict=True))


async def test_an_exception_among_the_results_is_raised_to_its_caller_only() -> None:
    @batch(target_batch_size=3, max_waiting_time=1, argument_type="item")
    async def parse(items: list[str]) -> list[Any]:
        return [int(item) if item.isdigit() else KeyError(item) for item in items]

    one, error, two = await asyncio.gather(parse("1"), parse("x"), parse("2"), return_exceptions=True)
    assert (one, two) == (1, 2)
    assert repr(error) == "KeyError('x')"


async def test_an_exception_for_a_caller_that_has_gone_does_no_harm() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type="item")
    async def fail(items: list[int]) -> list[Any]:
        await asyncio.sleep(1)
        return [KeyError(item) for item in items]

    gone, stays = start(fail(1)), start(fail(2))
    await settle()
    gone.cancel()
    with pytest.raises(KeyError, match="2"):
        await stays


async def test_callers_with_the_same_exception_each_get_one_of_their_own() -> None:
    shared = KeyError("shared")

    @batch(target_batch_size=3, max_waiting_time=1, argument_type="item")
    async def fail(items: list[int]) -> list[Any]:
        return [shared] * len(items)

    errors = await asyncio.gather(*map(fail, range(3)), return_exceptions=True)
    assert {repr(error) for error in errors} == {"KeyError('shared')"}
    assert len(set(map(id, errors))) == 3
    assert errors[0] is shared


async def test_stop_iteration_among_the_results_is_a_runtime_error() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type="item")
    async def stop(items: list[int]) -> list[Any]:
        return [StopIteration("no more"), StopAsyncIteration("no more")]

    first, second = await asyncio.gather(stop(1), stop(2), return_exceptions=True)
    assert type(first) is RuntimeError
    assert repr(first.__cause__) == "StopIteration('no more')"
    assert type(second) is StopAsyncIteration


async def test_an_exception_that_only_a_base_exception_is_counts_as_a_result() -> None:
    @batch(target_batch_size=1, max_waiting_time=1, argument_type="item")
    async def leave(items: list[int]) -> list[Any]:
        return [SystemExit(item) for item in items]

    assert isinstance(await leave(1), SystemExit)


async def test_items_have_a_cap_too() -> None:
    batches = []

    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2, argument_type="item")
    async def same(items: list[int]) -> list[int]:
        batches.append(items)
        return items

    assert await asyncio.gather(*map(same, range(5))) == [0, 1, 2, 3, 4]
    assert batches == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("result", [np.array([1, 2]), array.array("i", [1, 2]), [1, 2]])
async def test_items_may_come_from_any_sequence(result: Any) -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type="item")
    async def function(items: list[int]) -> Any:
        return result

    assert await asyncio.gather(function(0), function(0)) == [1, 2]


async def test_an_item_that_is_a_row_of_an_array_is_a_copy() -> None:
    result = np.arange(4).reshape(2, 2)

    @batch(target_batch_size=2, max_waiting_time=1, argument_type="item")
    async def function(items: list[int]) -> Any:
        return result

    rows = await asyncio.gather(function(0), function(0))
    assert [row.tolist() for row in rows] == [[0, 1], [2, 3]]
    assert not any(np.shares_memory(row, result) for row in rows)


async def test_items_of_columns_are_dicts_of_elements() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type="item")
    async def function(items: list[int]) -> Any:
        return {"same": items, "double": np.array([2 * item for item in items])}

    assert await asyncio.gather(function(1), function(2)) == [{"same": 1, "double": 2}, {"same": 2, "double": 4}]


async def test_a_container_of_the_users_is_joined_and_cut_by_its_type() -> None:
    @batch(target_batch_size=3, max_waiting_time=1, argument_type=Columns())
    async def double(column: Column) -> Column:
        return Column([2 * value for value in column.tolist()])

    first, second = await asyncio.gather(double(Column([1])), double(Column([2, 3])))
    assert (first.tolist(), second.tolist()) == ([2], [4, 6])


async def test_a_container_of_the_users_is_copied_on_arrival_and_when_it_is_cut() -> None:
    result = Column([10, 20])

    @batch(target_batch_size=2, max_waiting_time=1, argument_type=Columns())
    async def function(column: Column) -> Column:
        assert column.tolist() == [1, 2]
        return result

    argument = Column([1])
    first = start(function(argument))
    await settle()
    argument.base[0] = 5
    second = await function(Column([2]))
    assert (await first).tolist() == [10]
    assert second.base is not result.base
    assert second.tolist() == [20]


async def test_a_large_container_of_the_users_is_cut_and_rejoined_by_its_type() -> None:
    sizes = []

    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=2, argument_type=Columns())
    async def double(column: Column) -> dict[str, Column]:
        sizes.append(len(column.tolist()))
        return {"double": Column([2 * value for value in column.tolist()])}

    result = await double(Column([1, 2, 3, 4, 5]))
    assert result["double"].tolist() == [2, 4, 6, 8, 10]
    assert sizes == [2, 2, 1]


async def test_an_error_of_the_users_type_reaches_those_it_concerns_and_the_next_call_works() -> None:
    class Fragile(Columns):
        broken = ""

        def rows(self, value: Column) -> int:
            if self.broken == "rows":
                raise KeyError("rows")
            return super().rows(value)

        def join(self, values: list[Column]) -> Column:
            if self.broken == "join" and len(values) > 1:
                raise KeyError("join")
            return super().join(values)

        def slice(self, value: Column, start: int, stop: int) -> Column:
            if self.broken == "slice":
                raise KeyError("slice")
            return super().slice(value, start, stop)

    fragile = Fragile()

    @batch(target_batch_size=2, max_waiting_time=1, max_batch_size=3, argument_type=fragile)
    async def same(column: Column) -> Column:
        return column

    for broken in ("join", "slice", "rows"):
        fragile.broken = broken
        errors = await asyncio.gather(same(Column([1])), same(Column([2])), return_exceptions=True)
        assert [repr(error) for error in errors] == [f"KeyError('{broken}')"] * 2
    fragile.broken = "slice"
    with pytest.raises(KeyError, match="slice"):
        await same(Column([1, 2, 3, 4]))
    fragile.broken = ""
    assert [r.tolist() for r in await asyncio.gather(same(Column([1])), same(Column([2])))] == [[1], [2]]
    assert same.batch_info().waiting_rows == same.batch_info().running_batches == 0


@pytest.mark.parametrize("method", ["rows", "join", "slice"])
def test_a_type_that_lacks_a_method_cannot_be_made(method: str) -> None:
    methods: dict[str, Any] = {name: lambda *args: None for name in ("rows", "join", "slice") if name != method}
    with pytest.raises(TypeError, match=method):
        type("Incomplete", (ArgumentType,), methods)()


# What the function returns.


@pytest.mark.parametrize("argument_type", ["list", "numpy", "item"])
async def test_a_dict_of_columns_gives_each_caller_a_dict_of_slices(argument_type: Any) -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type=argument_type)
    async def function(rows: Any) -> dict[str, Any]:
        return {"list": list(rows), "array": np.array(rows) * 2}

    wrap = (lambda x: x) if argument_type == "item" else (lambda x: [x])
    first, second = await asyncio.gather(function(wrap(1)), function(wrap(2)))
    assert first == {"list": wrap(1), "array": wrap(2)}
    assert second == {"list": wrap(2), "array": wrap(4)}
    assert type(first) is dict


@pytest.mark.parametrize("argument_type", ["list", "numpy", "item"])
@pytest.mark.parametrize(
    ("result", "error", "text"),
    [
        ([], ValueError, "function() returned 0 rows for a batch of 2 rows"),
        ([1], ValueError, "function() returned 1 rows for a batch of 2 rows"),
        ([1, 2, 3], ValueError, "function() returned 3 rows for a batch of 2 rows"),
        (np.zeros(3), ValueError, "function() returned 3 rows for a batch of 2 rows"),
        ({"a": [1, 2], "b": [1]}, ValueError, "function() returned, in column 'b', 1 rows for a batch of 2 rows"),
        ({}, ValueError, "function() returned a dict of 0 columns for a batch of 2 rows"),
        ((1, 2), TypeError, "function() returned a tuple; return a list, an array, or a dict of columns instead"),
        (
            {"a": (1, 2)},
            TypeError,
            "function() returned, in column 'a', a tuple; return a list, an array, or a dict of columns instead",
        ),
        (
            Pair(1, 2),
            TypeError,
            "function() returned a tuple; return a list, an array, or a dict of columns instead",
        ),
        (
            None,
            TypeError,
            "function() returned an object of type NoneType; return a list, an array, or a dict of columns instead",
        ),
        (
            {1, 2},
            TypeError,
            "function() returned an object of type set; return a list, an array, or a dict of columns instead",
        ),
        (
            np.float64(1),
            TypeError,
            "function() returned an object of type float64; return a list, an array, or a dict of columns instead",
        ),
        (
            Odd(),
            TypeError,
            "function() returned an object of type Odd; return a list, an array, or a dict of columns instead",
        ),
    ],
)
async def test_a_bad_result_is_an_error_of_every_caller_and_the_next_call_works(
    argument_type: Any, result: Any, error: type[Exception], text: str
) -> None:
    results = [result]

    @batch(target_batch_size=2, max_waiting_time=1, argument_type=argument_type)
    async def function(rows: Any) -> Any:
        return results.pop() if results else [0] * len(rows)

    argument = 1 if argument_type == "item" else [1]
    errors = await asyncio.gather(function(argument), function(argument), return_exceptions=True)
    assert [(type(each), str(each)) for each in errors] == [(error, text)] * 2
    assert errors[0] is not errors[1]
    assert await function(argument) == (0 if argument_type == "item" else [0])


async def test_an_array_without_dimensions_is_no_container_of_rows() -> None:
    @batch(target_batch_size=1, max_waiting_time=1)
    async def function(rows: Any) -> Any:
        return np.array(1)

    with pytest.raises(TypeError, match="unsized"):
        await function([1])


@pytest.mark.parametrize("argument_type", ["list", "numpy"])
async def test_other_sequences_are_sliced(argument_type: Any) -> None:
    @batch(target_batch_size=3, max_waiting_time=1, argument_type=argument_type)
    async def function(rows: Any) -> Any:
        return array.array("i", rows)

    first, second = await asyncio.gather(function([1]), function([2, 3]))
    assert (first, second) == (array.array("i", [1]), array.array("i", [2, 3]))


async def test_slices_of_other_sequences_are_copied_too() -> None:
    class View:
        def __init__(self, base: list[int], where: slice) -> None:
            self.base = base
            self.where = where

        def __len__(self) -> int:
            return len(self.base[self.where])

        def __getitem__(self, where: slice) -> "View":
            return View(self.base, where)

        def __copy__(self) -> "View":
            return View(self.base[self.where], slice(None))

    base = [1, 2]

    @batch(target_batch_size=2, max_waiting_time=1)
    async def function(rows: list[int]) -> Any:
        return View(base, slice(None))

    first, second = await asyncio.gather(function([0]), function([0]))
    assert (first.base, second.base) == ([1], [2])


async def test_the_dtype_of_a_result_is_that_of_the_function() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        return (rows / 2).astype(np.float32)

    results = await asyncio.gather(function(np.array([1])), function(np.array([2])))
    assert [(result.dtype, result.tolist()) for result in results] == [(np.float32, [0.5]), (np.float32, [1])]


# Isolation.


@pytest.mark.parametrize("argument_type", ["list", "numpy"])
@pytest.mark.parametrize("rows", [1, 3])
async def test_a_container_changed_after_the_call_changes_nothing(argument_type: Any, rows: int) -> None:
    @batch(target_batch_size=100, max_waiting_time=1, argument_type=argument_type)
    async def function(rows: Any) -> Any:
        return rows

    argument: Any = [1] * rows if argument_type == "list" else np.ones(rows)
    call = start(function(argument))
    await settle()
    argument[0] = 100
    if argument_type == "list":
        argument.clear()
    assert list(await call) == [1] * rows


async def test_elements_are_never_copied() -> None:
    @batch(target_batch_size=100, max_waiting_time=1)
    async def function(rows: list[Any]) -> list[Any]:
        return rows

    one, other = object(), object()
    assert [row for rows in await asyncio.gather(function([one]), function([other, one])) for row in rows] == [
        one,
        other,
        one,
    ]

    @batch(target_batch_size=100, max_waiting_time=1, argument_type="numpy")
    async def numpy_function(rows: Any) -> Any:
        return rows

    assert (await numpy_function(np.array([one, other], object))).tolist() == [one, other]


async def test_a_row_may_be_a_container_itself() -> None:
    @batch(target_batch_size=4, max_waiting_time=1)
    async def function(rows: list[Any]) -> list[Any]:
        return rows

    calls = [[1, 2]], [()], [(3,), []], [[4]]
    assert await asyncio.gather(*map(function, calls)) == list(calls)


@pytest.mark.parametrize("argument_type", ["list", "numpy"])
@pytest.mark.parametrize("sizes", [(1,), (1, 1), (2, 1), (3,)])
async def test_every_callers_slice_of_an_array_is_its_own_copy(argument_type: Any, sizes: tuple[int, ...]) -> None:
    result = np.arange(2.0 * sum(sizes)).reshape(-1, 2)

    @batch(target_batch_size=sum(sizes), max_waiting_time=1, argument_type=argument_type)
    async def function(rows: Any) -> Any:
        return result

    slices = await asyncio.gather(*[function([0] * size) for size in sizes])
    assert [len(each) for each in slices] == list(sizes)
    assert np.concatenate(slices).tolist() == result.tolist()
    assert not any(np.shares_memory(each, result) for each in slices)


@pytest.mark.parametrize("sizes", [(1,), (1, 1), (2, 1), (3,)])
async def test_every_callers_slice_of_a_list_is_its_own_copy(sizes: tuple[int, ...]) -> None:
    result = [*range(sum(sizes))]

    @batch(target_batch_size=sum(sizes), max_waiting_time=1)
    async def function(rows: Any) -> Any:
        return result

    slices = await asyncio.gather(*[function([0] * size) for size in sizes])
    for each in slices:
        each.clear()
    assert result == [*range(sum(sizes))]


async def test_a_masked_array_keeps_its_mask() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        return np.ma.masked_less(rows, 2)

    first, second = await asyncio.gather(function(np.array([1])), function(np.array([2])))
    assert (first.mask.tolist(), second.mask.tolist()) == ([True], [False])
