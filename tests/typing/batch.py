"""What type checkers see of dike-batch; checked by mypy and pyright, never run."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar, assert_type

import numpy as np
import numpy.typing as npt
from dike_batch import ArgumentType, BatchInfo, batch

T = TypeVar("T")


@batch(target_batch_size=32, max_waiting_time=0.01)
async def function(rows: list[int], /, scale: list[float], *, flag: list[bool] | None = None) -> list[str]:
    return [str(row) for row in rows]


@batch(
    target_batch_size=float("inf"),
    max_waiting_time=timedelta(seconds=1),
    max_processing_time=None,
    argument_type="numpy",
    max_batch_size=64,
    max_concurrent_batches=1,
    dispatch_when_idle=True,
    group_by=("model",),
)
async def arrays(rows: npt.NDArray[np.float64], model: str) -> dict[str, npt.NDArray[np.float64]]:
    return {model: rows}


@batch(target_batch_size=32, max_waiting_time=0.01, argument_type="item")
async def items(numbers: list[int]) -> list[str | Exception]:
    return [str(number) for number in numbers]


class Text(ArgumentType):
    def rows(self, value: str) -> int:
        return len(value)

    def join(self, values: list[str]) -> str:
        return "".join(values)

    def slice(self, value: str, start: int, stop: int) -> str:
        return value[start:stop]


@batch(target_batch_size=32, max_waiting_time=0.01, argument_type=Text())
async def shout(text: str) -> str:
    return text.upper()


class Service:
    @batch(target_batch_size=32, max_waiting_time=0.01)
    async def method(self, rows: list[int]) -> list[str]:
        return [str(row) for row in rows]

    @classmethod
    @batch(target_batch_size=32, max_waiting_time=0.01)
    async def class_method(cls, rows: list[int]) -> list[str]:
        return [str(row) for row in rows]

    @batch(target_batch_size=32, max_waiting_time=0.01)
    @classmethod
    async def outer_class_method(cls, rows: list[int]) -> list[str]:
        return [str(row) for row in rows]

    @staticmethod
    @batch(target_batch_size=32, max_waiting_time=0.01)
    async def static_method(rows: list[int]) -> list[str]:
        return [str(row) for row in rows]

    @batch(target_batch_size=32, max_waiting_time=0.01)
    @staticmethod
    async def outer_static_method(rows: list[int]) -> list[str]:
        return [str(row) for row in rows]


class CallableObject:
    async def __call__(self, rows: list[int]) -> list[str]:
        return [str(row) for row in rows]


@batch(target_batch_size=32, max_waiting_time=0.01)
async def generic(rows: list[T]) -> list[T]:
    return rows


def takes_a_function(func: Callable[[list[int]], Coroutine[Any, Any, list[str]]]) -> None: ...


async def check() -> None:
    coroutine: Coroutine[Any, Any, list[str]] = function([1], [2.0])
    assert_type(await coroutine, list[str])
    assert_type(await function([1], scale=[2.0], flag=[True]), list[str])
    assert_type(await arrays(np.zeros(1), "a"), dict[str, npt.NDArray[np.float64]])
    assert_type(await generic([1]), list[int])
    assert_type(await items([1]), list[str | Exception])
    assert_type(await shout("a"), str)
    assert_type(function.batch_info(), BatchInfo)
    assert_type(function.batch_info().waiting_rows, int)
    assert_type(await function.flush(), None)

    service = Service()
    assert_type(await service.method([1]), list[str])
    assert_type(await Service.method(service, [1]), list[str])
    assert_type(service.method.batch_info(), BatchInfo)
    assert_type(Service.method.batch_info(), BatchInfo)
    assert_type(await service.class_method([1]), list[str])
    assert_type(await Service.class_method([1]), list[str])
    assert_type(await service.outer_class_method([1]), list[str])
    assert_type(await Service.outer_class_method([1]), list[str])
    assert_type(await service.static_method([1]), list[str])
    assert_type(await Service.static_method([1]), list[str])
    assert_type(await service.outer_static_method([1]), list[str])
    assert_type(await Service.outer_static_method([1]), list[str])

    assert_type(function.__name__, str)
    assert_type(function.__qualname__, str)

    decorator = batch(target_batch_size=1, max_waiting_time=1)
    assert_type(await decorator(CallableObject())([1]), list[str])
    assert_type(await decorator(service.method)([1]), list[str])
    takes_a_function(service.method)
    takes_a_function(decorator(service.method))

    await function(["a"], [2.0])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    await function([1])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await function(rows=[1], scale=[2.0])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await service.method([1], [2])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await Service.method([1])  # type: ignore[call-arg, arg-type] # pyright: ignore


def not_a_coroutine_function(rows: list[int]) -> list[str]:
    return [str(row) for row in rows]


batch(target_batch_size=1, max_waiting_time=1)(not_a_coroutine_function)  # type: ignore # pyright: ignore
batch(1, 1)  # type: ignore # pyright: ignore
batch(target_batch_size=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
batch(target_batch_size=1, max_waiting_time=1, argument_type="tensor")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
