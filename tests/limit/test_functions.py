"""All kinds of async functions can be limited, and keep looking like themselves."""

import functools
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dike_limit import TooManyCalls, limit_jobs

KINDS = pytest.mark.parametrize(
    "options", [{}, {"max_waiting_time": 1}, {"key": lambda *args, **kwargs: 1}], ids=["plain", "waiting", "key"]
)


@KINDS
def test_it_keeps_name_docs_and_signature(options: Any) -> None:
    async def func(a: int, *, b: str = "b") -> float:
        """Docs."""
        return 1.0

    async def stream(a: int) -> AsyncIterator[int]:
        """Docs."""
        yield a

    for original in (func, stream):
        limited = limit_jobs(limit=1, **options)(original)
        assert limited.__wrapped__ is original
        for attribute in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
            assert getattr(limited, attribute) == getattr(original, attribute)
        assert inspect.signature(limited) == inspect.signature(original)
    assert inspect.iscoroutinefunction(limit_jobs(limit=1, **options)(func))
    assert inspect.isasyncgenfunction(limit_jobs(limit=1, **options)(stream))


@KINDS
async def test_it_works_on_methods_of_all_kinds(options: Any) -> None:
    class Service:
        @limit_jobs(limit=1, **options)
        async def method(self, a: int) -> Any:
            return self, a

        @classmethod
        @limit_jobs(limit=1, **options)
        async def inner_class(cls, a: int) -> Any:
            return cls, a

        @limit_jobs(limit=1, **options)
        @classmethod
        async def outer_class(cls, a: int) -> Any:
            return cls, a

        @staticmethod
        @limit_jobs(limit=1, **options)
        async def inner_static(a: int) -> Any:
            return a

        @limit_jobs(limit=1, **options)
        @staticmethod
        async def outer_static(a: int) -> Any:
            return a

        @limit_jobs(limit=1, **options)
        async def stream(self, a: int) -> AsyncIterator[Any]:
            yield self, a

    service = Service()
    assert await service.method(1) == (service, 1)
    assert await service.inner_class(a=2) == (Service, 2)
    assert await Service.outer_class(3) == (Service, 3)
    assert await service.inner_static(4) == 4
    assert await Service.outer_static(5) == 5
    assert [item async for item in service.stream(6)] == [(service, 6)]
    assert Service.method.__qualname__.endswith("Service.method")


@KINDS
async def test_it_works_on_partials_and_callable_objects_and_names_them(options: Any) -> None:
    async def func(a: int, b: int) -> int:
        return a + b

    class Caller:
        async def __call__(self, b: int) -> int:
            return 1 + b

    for function, name in ((functools.partial(func, 1), "func"), (Caller(), "Caller")):
        limiter = limit_jobs(limit=1, **options)
        limited = limiter(function)
        assert inspect.iscoroutinefunction(limited)
        assert await limited(2) == 3
        limiter.limit = 0
        with pytest.raises(TooManyCalls, match=f"Too many calls to function {name}! limit=0 exceeded") as info:
            await limited(2)
        assert str(info.value.function).endswith(name)


async def test_limits_stack() -> None:
    inner, outer = limit_jobs(limit=1), limit_jobs(limit=2)

    @outer
    @inner
    async def func() -> tuple[int, int]:
        return outer.in_flight, inner.in_flight

    assert await func() == (1, 1)
    assert (outer.in_flight, inner.in_flight) == (0, 0)
