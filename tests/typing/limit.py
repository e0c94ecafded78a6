"""What type checkers see of dike-limit; checked by mypy and pyright, never run."""

import functools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from fractions import Fraction
from typing import TypeVar, assert_type

from dike_limit import AdaptiveLimit, JobLimiter, SharedLimit, TooManyCalls, limit_jobs
from redis.asyncio import Redis

T = TypeVar("T")


@limit_jobs(limit=2)
async def function(number: int, /, text: str, *, flag: bool = False) -> list[str]:
    return [text] * number


def tenant(number: int) -> str | None:
    return str(number)


def importance(number: int) -> float:
    return 1 / number


limiter = limit_jobs(
    limit=2.5,
    max_waiting_time=timedelta(seconds=1),
    max_waiting_calls=3,
    key=tenant,
    share=importance,
)


@limiter
async def with_options(number: int) -> int:
    return number


@limit_jobs(limit=1)
async def generic(value: T) -> T:
    return value


@limit_jobs(limit=1)
async def stream(count: int) -> AsyncGenerator[int, str]:
    yield count


@limit_jobs(limit=1)
async def iterator(*, count: int) -> AsyncIterator[int]:
    yield count


class Service:
    @limiter
    async def method(self, number: int) -> str:
        return str(number)

    @classmethod
    @limiter
    async def class_method(cls, number: int) -> str:
        return str(number)

    @limiter
    @classmethod
    async def class_method_in_the_other_order(cls, number: int) -> str:
        return str(number)

    @staticmethod
    @limiter
    async def static_method(number: int) -> str:
        return str(number)

    @limiter
    @staticmethod
    async def static_method_in_the_other_order(number: int) -> str:
        return str(number)

    @limiter
    async def stream(self, number: int) -> AsyncIterator[int]:
        yield number


class CallableService:
    async def __call__(self, number: int) -> str:
        return str(number)


async def calls() -> None:
    assert_type(await function(1, "text", flag=True), list[str])
    assert_type(await function(1, text="text"), list[str])
    assert_type(await with_options(1), int)
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

    assert_type(await limiter(CallableService())(1), str)
    assert_type(await limiter(functools.partial(function, 1))(text="text"), list[str])
    assert_type(await limiter(lambda: function(1, "text"))(), list[str])

    await function("1", "text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await function(1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await function(1, "text", True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await service.method("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await Service.class_method("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def stretch() -> int:
    assert_type(limiter, JobLimiter)
    assert_type(limiter.slot(1, share=0.5), AbstractAsyncContextManager[None, None])
    async with limiter.slot(1) as slot:
        assert_type(slot, None)
        return 1


def not_async() -> int:
    return 1


limiter(not_async)  # type: ignore[type-var] # pyright: ignore[reportArgumentType]
limit_jobs(3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
limit_jobs()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
limit_jobs(limit="3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
limit_jobs(limit=1, share=lambda: "1")  # type: ignore[arg-type, return-value] # pyright: ignore
limit_jobs(limit=1, key=lambda: [1])  # type: ignore[arg-type, return-value] # pyright: ignore
limit_jobs(limit=AdaptiveLimit(initial=20, min=1, max=1000, drop_on=(TimeoutError,)))
limit_jobs(limit=SharedLimit(10, redis=lambda: Redis(), name="name", lease=timedelta(seconds=10)))

assert_type(limiter.limit, float)
assert_type(limiter.in_flight, int)
assert_type(limiter.waiting, int)
assert_type(limiter.admitted, int)
assert_type(limiter.rejected, int)
limiter.limit = 3
limiter.limit = 2.5
limiter.limit = "3"  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
limiter.in_flight = 3  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
limit_jobs(limit=float(Fraction(5, 2)))

error = TooManyCalls("text", function="f", limit=1, in_flight=1, waiting=0, key="key", retry_after=1.5)
assert_type(error.function, str | None)
assert_type(error.limit, float | None)
assert_type(error.in_flight, int | None)
assert_type(error.waiting, int | None)
assert_type(error.retry_after, float | None)
