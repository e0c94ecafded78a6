"""The three decorators together: in any order, on every kind of function, on any loop."""

import asyncio
import functools
import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest
from dike import TooManyCalls, batch, limit_jobs, retry

DECORATORS: dict[str, Callable[[], Any]] = {
    "retry": lambda: retry(attempts=2, timeout=10),
    "limit_jobs": lambda: limit_jobs(limit=10, max_waiting_time=1),
    "batch": lambda: batch(target_batch_size=2, max_waiting_time=0.01),
}
ORDERS = list(itertools.permutations(DECORATORS))


def stacked(order: tuple[str, ...], func: Any) -> Any:
    for name in order:
        func = DECORATORS[name]()(func)
    return func


@pytest.mark.parametrize("order", ORDERS)
async def test_decorators_stack_in_any_order(order: tuple[str, ...]) -> None:
    calls: list[list[int]] = []

    async def f(x: list[int]) -> list[int]:
        """Add one."""
        calls.append(x)
        return [item + 1 for item in x]

    guarded = stacked(order, f)
    assert await asyncio.gather(guarded([1]), guarded([2])) == [[2], [3]]
    assert calls == [[1, 2]]
    assert inspect.iscoroutinefunction(guarded)
    assert (guarded.__name__, guarded.__qualname__, guarded.__doc__) == (f.__name__, f.__qualname__, "Add one.")
    assert inspect.signature(guarded) == inspect.signature(f)
    assert inspect.unwrap(guarded) is f


@pytest.mark.parametrize("order", ORDERS)
async def test_stacked_methods_keep_instances_apart(order: tuple[str, ...]) -> None:
    class Model:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        async def scale(self, x: list[int]) -> list[int]:
            return [item * self.factor for item in x]

        scale = stacked(order, scale)

    two, three = Model(2), Model(3)
    assert await asyncio.gather(two.scale([1]), three.scale([1]), two.scale([2])) == [[2], [3], [4]]


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("kind", [classmethod, staticmethod])
@pytest.mark.parametrize("outside", [True, False])
async def test_class_and_static_methods_work_in_either_order(decorator: str, kind: Any, outside: bool) -> None:
    async def for_class(cls: type, x: list[int]) -> list[int]:
        assert issubclass(cls, Thing)
        return x

    async def for_static(x: list[int]) -> list[int]:
        return x

    decorate = DECORATORS[decorator]()
    func = for_class if kind is classmethod else for_static

    class Thing:
        method = decorate(kind(func)) if outside else kind(decorate(func))

    assert await Thing.method([1]) == [1]
    assert await Thing().method([2]) == [2]
    assert inspect.iscoroutinefunction(Thing.method)


@pytest.mark.parametrize("decorator", DECORATORS)
async def test_partials_and_callable_objects_work(decorator: str) -> None:
    async def f(y: str, x: list[int]) -> list[int]:
        """Check y."""
        assert y == "y"
        return x

    class Model:
        """A model."""

        async def __call__(self, x: list[int]) -> list[int]:
            return x

    partial = DECORATORS[decorator]()(functools.partial(f, "y"))
    assert await partial([1]) == [1]
    assert (partial.__name__, partial.__qualname__, partial.__doc__) == ("f", f.__qualname__, "Check y.")
    called = DECORATORS[decorator]()(Model())
    assert await called([2]) == [2]
    assert list(inspect.signature(called).parameters) == ["x"]
    assert inspect.iscoroutinefunction(partial)
    assert inspect.iscoroutinefunction(called)


@pytest.mark.parametrize("decorator", ["retry", "limit_jobs"])
async def test_an_async_mock_can_be_wrapped(decorator: str) -> None:
    mock = AsyncMock(return_value=5)
    assert await DECORATORS[decorator]()(mock)(1) == 5
    mock.assert_awaited_once_with(1)


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize("func", [len, lambda: 1, 3, object, functools.partial(len)], ids=str)
def test_what_is_no_coroutine_function_is_refused(decorator: str, func: Any) -> None:
    with pytest.raises(ValueError, match="Only coroutines can be wrapped!") as refused:
        DECORATORS[decorator]()(func)
    assert str(refused.value) == f"Error when wrapping {func!s}. Only coroutines can be wrapped!"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.real_time
def test_one_function_works_under_successive_loops(order: tuple[str, ...]) -> None:
    async def f(x: list[int]) -> list[int]:
        return x

    guarded = stacked(order, f)

    async def main() -> list[list[int]]:
        return await asyncio.gather(guarded([1]), guarded([2]))

    for _ in range(3):
        assert asyncio.run(main()) == [[1], [2]]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.real_time
def test_one_function_works_on_loops_of_several_threads_at_once(order: tuple[str, ...]) -> None:
    async def f(x: list[int]) -> list[int]:
        await asyncio.sleep(0.001)
        return x

    guarded = stacked(order, f)
    results: dict[int, list[list[int]]] = {}
    together = threading.Barrier(4)

    def work(thread: int) -> None:
        async def main() -> list[list[int]]:
            return await asyncio.gather(*(guarded([thread * 100 + call]) for call in range(6)))

        together.wait(10)
        results[thread] = asyncio.run(main())

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {thread: [[thread * 100 + call] for call in range(6)] for thread in range(4)}


async def test_retry_over_limit_waits_out_a_busy_moment() -> None:
    @retry(attempts=3, exception_types=TooManyCalls, delay=1)
    @limit_jobs(limit=1)
    async def f() -> str:
        await asyncio.sleep(0.5)
        return "done"

    assert await asyncio.gather(f(), f()) == ["done", "done"]


async def test_a_streamed_body_passes_retry_and_limit_in_either_order() -> None:
    async def stream(n: int) -> Any:
        for item in range(n):
            yield item

    for first, second in itertools.permutations([retry(attempts=2), limit_jobs(limit=1)]):
        guarded = first(second(stream))
        assert inspect.isasyncgenfunction(guarded)
        assert [item async for item in guarded(3)] == [0, 1, 2]
        assert [item async for item in guarded(3)] == [0, 1, 2]
