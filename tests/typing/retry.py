"""What type checkers see of dike-retry; checked by mypy and pyright, never run."""

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Literal, TypeVar, assert_type

from dike_retry import FailedAttempt, RetryBudget, no_delay, retry

T = TypeVar("T")


@retry()
async def function(number: int, /, text: str, *, flag: bool = False) -> list[str]:
    return [text] * number


@retry(
    attempts=3,
    exception_types=(OSError, TimeoutError),
    delay=timedelta(seconds=1),
    backoff=2,
    log_exception_info=False,
    max_delay=10,
    jitter=0.5,
    timeout=timedelta(minutes=1),
    budget=RetryBudget(ratio=0.1, capacity=10),
)
async def with_options() -> int:
    return 1


@retry()
async def generic(value: T) -> T:
    return value


@retry()
async def stream(count: int) -> AsyncGenerator[int, str]:
    yield count


@retry()
async def iterator(*, count: int) -> AsyncIterator[int]:
    yield count


class Service:
    @retry()
    async def method(self, number: int) -> str:
        return str(number)

    @classmethod
    @retry()
    async def class_method(cls, number: int) -> str:
        return str(number)

    @retry()
    @classmethod
    async def class_method_in_the_other_order(cls, number: int) -> str:
        return str(number)

    @staticmethod
    @retry()
    async def static_method(number: int) -> str:
        return str(number)

    @retry()
    @staticmethod
    async def static_method_in_the_other_order(number: int) -> str:
        return str(number)

    @retry()
    async def stream(self, number: int) -> AsyncIterator[int]:
        yield number


class CallableService:
    async def __call__(self, number: int) -> str:
        return str(number)


async def calls() -> None:
    assert_type(await function(1, "text", flag=True), list[str])
    assert_type(await function(1, text="text"), list[str])
    assert_type(await with_options(), int)
    assert_type(await generic("text"), str)
    assert_type(await generic(1), int)
    assert_type(stream(1), AsyncGenerator[int, str])
    assert_type(iterator(count=1), AsyncIterator[int])
    assert_type([item async for item in iterator(count=1)], list[int])

    service = Service()
    assert_type(await service.method(1), str)
    assert_type(await Service.class_method(1), str)
    assert_type(await service.class_method(1), str)
    assert_type(await Service.class_method_in_the_other_order(1), str)
    assert_type(await Service.static_method(1), str)
    assert_type(await Service.static_method_in_the_other_order(1), str)
    assert_type(service.stream(1), AsyncIterator[int])

    assert_type(await retry()(CallableService())(1), str)
    assert_type(await retry()(functools.partial(function, 1))(text="text"), list[str])
    assert_type(await retry()(lambda: function(1, "text"))(), list[str])

    await function("1", "text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await function(1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await function(1, "text", True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await service.method("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await Service.class_method("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def not_async() -> int:
    return 1


retry()(not_async)  # type: ignore[type-var] # pyright: ignore[reportArgumentType]
retry(3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
retry(attempts="3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
retry(exception_types=int)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
retry(retry_if=lambda exc: 1.0)  # type: ignore[arg-type, return-value] # pyright: ignore


def about_status(exc: OSError) -> bool | timedelta:
    return exc.errno == 1


def count(failed: FailedAttempt) -> None:
    assert_type(failed.function, str)
    assert_type(failed.attempt, int)
    assert_type(failed.exception, BaseException)
    assert_type(failed.delay, float | None)
    assert_type(failed.elapsed, float)
    assert_type(failed.gave_up, Literal["attempts", "timeout", "budget", "retry_if"] | None)
    failed.attempt = 2  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


retry(exception_types=OSError, retry_if=about_status, on_failure=count)
retry(on_failure=print)

decorator: Callable[[Callable[[int], Coroutine[Any, Any, str]]], Callable[[int], Coroutine[Any, Any, str]]] = retry()
budget = RetryBudget()
assert_type(budget.balance, float)
budget.balance = 1  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
context: AbstractContextManager[None] = no_delay()
