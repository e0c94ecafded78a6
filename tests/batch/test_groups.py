"""Calls that must not share a batch."""

import asyncio
from typing import Any

import numpy as np
import pytest
from batch.backend import settle, start
from dike_batch import batch

INCONSISTENT = "^Inconsistent use of positional and keyword arguments$"


class Models:
    """A function whose batches belong to a model."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[tuple[Any, list[Any]]] = []

        async def function(rows: list[Any], model: Any = "default") -> list[Any]:
            self.batches.append((model, list(rows)))
            return rows

        defaults: dict[str, Any] = {"target_batch_size": 100, "max_waiting_time": 1, "group_by": ["model"]}
        self.call: Any = batch(**{**defaults, **options})(function)


async def test_only_calls_with_equal_values_share_a_batch() -> None:
    models = Models()
    results = await asyncio.gather(*[models.call([i], "ab"[i % 2]) for i in range(5)])
    assert results == [[0], [1], [2], [3], [4]]
    assert models.batches == [("a", [0, 2, 4]), ("b", [1, 3])]


async def test_each_group_has_a_target_and_a_deadline_of_its_own() -> None:
    models = Models(target_batch_size=2)
    start(models.call([1], "a"))
    await asyncio.sleep(0.5)
    start(models.call([2], "b"))
    start(models.call([3], "b"))
    await settle()
    assert models.batches == [("b", [2, 3])]
    await asyncio.sleep(0.5)
    await settle()
    assert models.batches == [("b", [2, 3]), ("a", [1])]


async def test_equal_is_what_is_equal_as_a_key_of_a_dict() -> None:
    models = Models()
    await asyncio.gather(models.call([1], 1), models.call([2], True), models.call([3], 1.0), models.call([4], "1"))
    assert models.batches == [(1, [1, 2, 3]), ("1", [4])]


async def test_a_value_that_is_not_hashable_is_a_type_error_of_that_caller() -> None:
    models = Models()
    first = start(models.call([1], "a"))
    await settle()
    with pytest.raises(TypeError, match=r"^model must be hashable, since calls are grouped by it, but got \['a'\]$"):
        await models.call([1], ["a"])
    assert await first == [1]


async def test_the_value_is_passed_through_as_it_is() -> None:
    models = Models()
    model = object()
    await models.call([1], model)
    await models.call([2], model=model)
    await models.call([3])
    assert models.batches == [(model, [1]), (model, [2]), ("default", [3])]


async def test_the_default_is_a_group_like_any_other() -> None:
    models = Models()
    first = start(models.call([1]))
    await settle()
    with pytest.raises(ValueError, match=INCONSISTENT):
        await models.call([2], "default")
    assert await models.call([2], "other") == [2]
    assert await first == [1]


async def test_arguments_must_be_passed_alike_within_a_group_only() -> None:
    models = Models()
    first = start(models.call([1], "a"))
    await settle()
    with pytest.raises(ValueError, match=INCONSISTENT):
        await models.call([2], model="a")
    with pytest.raises(ValueError, match=INCONSISTENT):
        await models.call([2], "a", "what is this?")
    with pytest.raises(TypeError, match="too many positional arguments"):
        await models.call([2], "b", "what is this?")
    assert await models.call([2], model="b") == [2]
    assert await first == [1]


async def test_a_call_that_does_not_say_its_group_is_a_type_error() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, group_by=("model",))
    async def function(rows: list[int], *, model: str) -> list[int]:
        return rows

    first = start(function([1], model="a"))
    await settle()
    with pytest.raises(TypeError, match=r"missing a required .*argument: 'model'"):
        await function([1])  # type: ignore[call-arg]
    assert await first == [1]


async def test_several_names_group_together() -> None:
    seen = []

    @batch(target_batch_size=10, max_waiting_time=1, group_by=("b", "c"))
    async def function(a: list[int], b: int, c: int, d: list[int]) -> list[int]:
        seen.append((a, b, c, d))
        return [x + y for x, y in zip(a, d, strict=True)]

    calls = function([1], 1, 2, [10]), function([2], 1, 3, [20]), function([3], 1, 2, [30])
    assert await asyncio.gather(*calls) == [[11], [22], [33]]
    assert seen == [([1, 3], 1, 2, [10, 30]), ([2], 1, 3, [20])]


async def test_rows_of_unlike_trailing_shape_are_kept_apart() -> None:
    batches = []

    @batch(target_batch_size=100, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        batches.append(rows.shape)
        return rows

    shapes = [(1, 2), (2, 3), (3, 2), (1,), (1, 2, 1), (4,)]
    results = await asyncio.gather(*[function(np.zeros(shape)) for shape in shapes])
    assert [result.shape for result in results] == shapes
    assert batches == [(4, 2), (2, 3), (5,), (1, 2, 1)]


async def test_rows_of_unlike_dtype_kind_are_kept_apart() -> None:
    batches = []

    @batch(target_batch_size=100, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        batches.append(rows.dtype)
        return rows

    dtypes = ["?", "i8", "u8", "f8", "c16", "U3", "S3", "O", "i8"]
    results = await asyncio.gather(*[function(np.ones(1, dtype)) for dtype in dtypes])
    assert [result.dtype for result in results] == [np.dtype(dtype) for dtype in dtypes]
    assert batches == [np.dtype(dtype) for dtype in dtypes[:-1]]


async def test_rows_of_one_dtype_kind_share_a_batch_that_holds_them_all_without_loss() -> None:
    batches = []

    @batch(target_batch_size=100, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        batches.append(rows.dtype)
        return rows

    dtypes = ["f4", "f8", "U1", "U5", "i1", "i8"]
    await asyncio.gather(*[function(np.ones(1, dtype)) for dtype in dtypes])
    assert batches == [np.dtype("f8"), np.dtype("U5"), np.dtype("i8")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("x", "i4")], [("x", "i8")]),
        ([("x", "i4")], [("y", "i4")]),
        ("M8[s]", "M8[ns]"),
        ("m8[D]", "m8[ns]"),
    ],
)
async def test_structures_and_dates_are_kept_apart_by_their_dtype(one: Any, other: Any) -> None:
    batches = []

    @batch(target_batch_size=100, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        batches.append((rows.dtype, len(rows)))
        return rows

    await asyncio.gather(*[function(np.zeros(1, dtype)) for dtype in (one, other, one)])
    assert batches == [(np.dtype(one), 2), (np.dtype(other), 1)]


async def test_each_argument_counts() -> None:
    batches = []

    @batch(target_batch_size=100, max_waiting_time=1, argument_type="numpy", group_by=["k"])
    async def function(a: Any, b: Any, k: int) -> Any:
        batches.append((a.shape, b.shape, k))
        return a

    one, other = np.zeros((1, 2)), np.zeros((1, 3))
    await asyncio.gather(
        *[function(a, b, k) for a, b, k in [(one, one, 1), (one, other, 1), (one, one, 2), (one, one, 1)]]
    )
    assert batches == [((2, 2), (2, 2), 1), ((1, 2), (1, 3), 1), ((1, 2), (1, 2), 2)]


@pytest.mark.parametrize("rows", [np.zeros(1), np.zeros((1, 2))])
async def test_arrays_must_be_passed_alike_even_a_single_one(rows: Any) -> None:
    @batch(target_batch_size=100, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        return rows

    start(function(rows))
    await settle()
    with pytest.raises(ValueError, match=INCONSISTENT):
        await function(rows=rows)


async def test_a_bad_shape_harms_nobody_else() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        return rows @ np.eye(2)

    good, bad, also_good = await asyncio.gather(
        *[function(np.ones((1, columns))) for columns in (2, 3, 2)], return_exceptions=True
    )
    assert good.tolist() == also_good.tolist() == [[1, 1]]
    assert isinstance(bad, ValueError)


async def test_a_ragged_argument_is_an_error_of_that_caller() -> None:
    @batch(target_batch_size=2, max_waiting_time=1, argument_type="numpy")
    async def function(rows: Any) -> Any:
        return rows

    first = start(function([1]))
    await settle()
    with pytest.raises(ValueError, match="inhomogeneous"):
        await function([[1], [2, 3]])
    with pytest.raises(TypeError, match=r"must have at least one dimension, but got array\(1\)"):
        await function(np.array(1))
    assert (await first).tolist() == [1]


async def test_optional_arrays_of_another_kind_are_no_misuse() -> None:
    batches = []

    @batch(target_batch_size=100, max_waiting_time=1, argument_type="numpy")
    async def function(a: Any, b: Any = None) -> Any:
        batches.append((a.tolist(), b))
        return a

    first = start(function(np.array([1])))
    await settle()
    assert (await function(np.array([0.5]), np.array([2])))[0] == 0.5
    assert (await first)[0] == 1
    assert [a for a, _ in batches] == [[1], [0.5]]


async def test_ten_thousand_groups_leave_nothing_behind() -> None:
    models = Models(target_batch_size=2, max_concurrent_batches=1, dispatch_when_idle=True)
    results = await asyncio.gather(*[models.call([i], i) for i in range(10_000)])
    assert results == [[i] for i in range(10_000)]
    assert [model for model, _ in models.batches] == list(range(10_000))
