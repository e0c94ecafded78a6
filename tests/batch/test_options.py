"""Options are checked when the decorator is built or applied, with the offending value in the message."""

import asyncio
import re
import sys
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from dike_batch import ArgumentType, batch

NAN = float("nan")
INF = float("inf")


def decorator(**options: Any) -> Any:
    return batch(**{"target_batch_size": 2, "max_waiting_time": 1, **options})


async def double(rows: list[int]) -> list[int]:
    return [2 * row for row in rows]


@pytest.mark.parametrize("value", [0, -1, -INF, NAN])
@pytest.mark.parametrize("name", ["target_batch_size", "max_waiting_time", "max_processing_time"])
def test_a_number_out_of_range_is_a_value_error(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} .*{value}"):
        decorator(**{name: value})


def test_a_number_that_no_float_can_hold_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="target_batch_size must fit in a float"):
        decorator(target_batch_size=10**400)


@pytest.mark.parametrize("value", ["1", True, [1], Decimal(1), 1j])
@pytest.mark.parametrize(
    "name",
    ["target_batch_size", "max_waiting_time", "max_processing_time", "max_batch_size", "max_concurrent_batches"],
)
def test_what_is_no_number_is_a_type_error(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        decorator(**{name: value})


@pytest.mark.parametrize("name", ["max_waiting_time", "max_processing_time"])
def test_a_timedelta_out_of_range_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        decorator(**{name: timedelta(0)})


@pytest.mark.parametrize("value", [0, -1, 2.5, NAN])
@pytest.mark.parametrize("name", ["max_batch_size", "max_concurrent_batches"])
def test_a_limit_that_is_no_whole_number_above_0_is_a_value_error(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} .*{value}"):
        decorator(target_batch_size=1, **{name: value})


def test_a_max_batch_size_below_the_target_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="max_batch_size must be >= target_batch_size=4, but got 3"):
        decorator(target_batch_size=4, max_batch_size=3)


def test_any_max_batch_size_goes_with_an_infinite_target() -> None:
    decorator(target_batch_size=INF, max_batch_size=3)(double)


@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_dispatch_when_idle_must_be_a_bool(value: Any) -> None:
    with pytest.raises(TypeError, match=f"dispatch_when_idle .*{value!r}"):
        decorator(dispatch_when_idle=value)


@pytest.mark.parametrize("value", ["array", "", None, 5, ArgumentType, []])
def test_an_unknown_argument_type_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="argument_type must be"):
        decorator(argument_type=value)


def test_numpy_that_is_not_installed_is_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ValueError, match=r'^Unable to use "numpy" as argument_type because numpy is not available$'):
        decorator(argument_type="numpy")


def test_a_bare_string_as_group_by_is_refused() -> None:
    with pytest.raises(TypeError, match=r"group_by .*'rows'"):
        decorator(group_by="rows")


@pytest.mark.parametrize("value", [5, None])
def test_a_group_by_of_no_names_at_all_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=f"group_by .*{value}"):
        decorator(group_by=value)


@pytest.mark.parametrize("name", ["color", "args", "kwargs", "self", 5, ["rows"]])
def test_a_group_by_name_that_is_no_parameter_for_one_argument_is_refused(name: Any) -> None:
    async def function(self: Any, rows: list[int], *args: Any, **kwargs: Any) -> list[int]:
        return rows

    with pytest.raises(ValueError, match=rf"group_by .*function\(\).*{re.escape(repr(name))}"):
        decorator(group_by=[name])(function)


def test_options_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        batch(2, 1)  # type: ignore[misc]


def not_a_coroutine_function() -> None: ...


async def async_generator(rows: list[int]) -> Any:
    yield rows


@pytest.mark.parametrize("func", [not_a_coroutine_function, async_generator, int, len, 5])
def test_only_coroutine_functions_can_be_batched(func: Any) -> None:
    text = f"Error when wrapping {func!s}. Only coroutines can be wrapped!"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        decorator()(func)


@pytest.mark.parametrize(
    "options",
    [
        {"target_batch_size": 1.5},
        {"target_batch_size": Fraction(3, 2)},
        {"target_batch_size": INF},
        {"max_waiting_time": timedelta(seconds=1)},
        {"max_waiting_time": INF, "target_batch_size": 1},
        {"max_processing_time": None},
        {"max_processing_time": INF},
        {"max_processing_time": timedelta(minutes=1)},
        {"max_batch_size": 2.0, "max_concurrent_batches": 1.0},
        {"max_batch_size": INF, "max_concurrent_batches": INF},
    ],
)
async def test_numbers_of_all_kinds_are_fine(options: dict[str, Any]) -> None:
    assert await decorator(**options)(double)([1]) == [2]


async def test_a_fractional_target_is_reached_by_the_next_whole_number() -> None:
    function = decorator(target_batch_size=1.5)(double)
    await asyncio.gather(function([1]), function([2]))
    assert asyncio.get_running_loop().time() == 0
    await function([1])
    assert asyncio.get_running_loop().time() == 1
