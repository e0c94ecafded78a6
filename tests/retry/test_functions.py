"""All kinds of async functions, on classes and off, in stacks, loops and threads."""

import asyncio
import functools
import inspect
import pickle
import threading
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import pytest
from dike_retry import retry


def flaky(attempts_until_success: int = 2) -> Any:
    """Return a function that raises until it has been called so often, and then does so anew."""
    calls = 0

    def called() -> None:
        nonlocal calls
        calls += 1
        if calls < attempts_until_success:
            raise KeyError
        calls = 0

    return called


class Service:
    attempt = staticmethod(flaky())

    def __init__(self, name: str) -> None:
        self.name = name

    @retry()
    async def method(self, number: int) -> tuple[str, int]:
        """A method."""
        self.attempt()
        return self.name, number

    @classmethod
    @retry()
    async def class_method(cls, number: int) -> tuple[str, int]:
        cls.attempt()
        return cls.__name__, number

    @retry()
    @classmethod
    async def class_method_in_the_other_order(cls, number: int) -> tuple[str, int]:
        cls.attempt()
        return cls.__name__, number

    @staticmethod
    @retry()
    async def static_method(number: int) -> int:
        Service.attempt()
        return number

    @retry()
    @staticmethod
    async def static_method_in_the_other_order(number: int) -> int:
        Service.attempt()
        return number

    @retry()
    async def stream(self, number: int) -> AsyncIterator[tuple[str, int]]:
        self.attempt()
        yield self.name, number


class SubService(Service):
    pass


async def test_methods_of_all_kinds_are_retried() -> None:
    service = SubService("a")
    assert await service.method(1) == ("a", 1)
    assert await SubService.method(service, number=1) == ("a", 1)
    for owner in (SubService, service):
        assert await owner.class_method(2) == ("SubService", 2)
        assert await owner.class_method_in_the_other_order(2) == ("SubService", 2)
        assert await owner.static_method(3) == 3
        assert await owner.static_method_in_the_other_order(3) == 3
    assert [item async for item in service.stream(4)] == [("a", 4)]


async def test_a_bound_method_can_be_decorated() -> None:
    class Plain:
        attempt = staticmethod(flaky())

        async def method(self, number: int) -> int:
            self.attempt()
            return number

    assert await retry()(Plain().method)(1) == 1


async def test_a_partial_is_retried_with_its_arguments() -> None:
    attempt = flaky()

    async def func(*args: int, **kwargs: int) -> tuple[Any, Any]:
        attempt()
        return args, kwargs

    part = functools.partial(functools.partial(func, 1), key=2)
    decorated = retry()(part)
    assert await decorated(3, other=4) == ((1, 3), {"key": 2, "other": 4})
    assert decorated.__name__ == "func"
    assert inspect.iscoroutinefunction(decorated)


class Callable:
    """Called."""

    count: int = 0

    def __init__(self) -> None:
        self.attempt = flaky()

    async def __call__(self, number: int) -> int:
        self.attempt()
        return number


async def test_an_object_with_async_call_is_retried() -> None:
    decorated = retry()(Callable())
    assert await decorated(1) == 1
    assert inspect.iscoroutinefunction(decorated)
    assert decorated.__name__ == "Callable"
    assert decorated.__doc__ == "Called."


def test_of_an_object_with_async_call_the_annotations_are_those_of_call() -> None:
    decorated = retry()(Callable())
    assert decorated.__annotations__ == {"number": int, "return": int}
    assert not hasattr(decorated, "count")


async def test_an_object_whose_call_is_a_stream_is_retried() -> None:
    class Streamer:
        attempt = staticmethod(flaky())

        async def __call__(self, number: int) -> AsyncIterator[int]:
            self.attempt()
            yield number

    decorated = retry()(Streamer())
    assert [item async for item in decorated(1)] == [1]
    assert inspect.isasyncgenfunction(decorated)


async def documented(number: int, /, *more: int, key: str = "default") -> int:
    """Documented."""
    return number


documented.attribute = "kept"  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{}, {"timeout": 1}])
def test_the_decorated_function_looks_like_the_original(options: dict[str, Any]) -> None:
    decorated: Any = retry(**options)(documented)
    assert decorated.__name__ == "documented"
    assert decorated.__qualname__ == "documented"
    assert decorated.__module__ == documented.__module__
    assert decorated.__doc__ == "Documented."
    assert decorated.__wrapped__ is documented
    assert decorated.attribute == "kept"
    assert decorated.__annotations__ == documented.__annotations__
    assert inspect.signature(decorated) == inspect.signature(documented)
    assert inspect.iscoroutinefunction(decorated)
    assert not inspect.isasyncgenfunction(decorated)


async def test_retries_stack() -> None:
    calls = 0

    @retry(attempts=2, exception_types=TimeoutError)
    @retry(attempts=3, exception_types=(KeyError, TimeoutError), timeout=10)
    async def func() -> None:
        nonlocal calls
        calls += 1
        raise TimeoutError

    with pytest.raises(TimeoutError) as info:
        await func()
    assert calls == 6
    name = "test_retries_stack.<locals>.func"
    assert info.value.__notes__ == [
        f"gave up on {name} after 3 attempts (attempts)",
        f"gave up on {name} after 2 attempts (attempts)",
    ]


async def test_one_decorator_serves_many_functions() -> None:
    decorator = retry(attempts=2)
    functions = []
    for attempts in (1, 2, 3):

        async def func(attempt: Any = flaky(attempts)) -> str:  # noqa: B008
            attempt()
            return "done"

        functions.append(decorator(func))
    assert await functions[0]() == "done"
    assert await functions[1]() == "done"
    with pytest.raises(KeyError):
        await functions[2]()


async def test_concurrent_calls_share_no_state() -> None:
    calls: dict[int, list[float]] = {}

    @retry(attempts=4, delay=1, backoff=2)
    async def func(caller: int) -> int:
        calls.setdefault(caller, []).append(asyncio.get_running_loop().time())
        if len(calls[caller]) < 4:
            raise KeyError
        return caller

    assert await asyncio.gather(*(func(caller) for caller in range(50))) == list(range(50))
    assert all(times == [0, 1, 3, 7] for times in calls.values())


attempt = flaky()


@retry(delay=0.001, timeout=60)
async def at_module_level() -> str:
    attempt()
    return "done"


@pytest.mark.real_time
def test_it_works_under_successive_runs() -> None:
    assert [asyncio.run(at_module_level()) for _ in range(3)] == ["done"] * 3


@pytest.mark.real_time
def test_it_works_in_threads_with_loops_of_their_own() -> None:
    outcomes = []

    @retry(attempts=20, timeout=60, delay=0.0001)
    async def func(outcome: list[int]) -> list[int]:
        outcome.append(0)
        await asyncio.sleep(0)
        if len(outcome) < 10:
            raise KeyError
        return outcome

    async def main() -> None:
        outcomes.extend(await asyncio.gather(*(func([]) for _ in range(20))))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(outcome) for outcome in outcomes] == [10] * 80


@pytest.mark.real_time
def test_a_cancelled_task_in_another_thread_changes_nothing_here() -> None:
    entered, leave = threading.Event(), threading.Event()

    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        entered.set()
        leave.wait()

    async def run_it() -> None:
        await asyncio.wait([asyncio.create_task(cancelled())])

    thread = threading.Thread(target=lambda: asyncio.run(run_it()))
    thread.start()
    entered.wait()
    assert asyncio.run(at_module_level()) == "done"
    leave.set()
    thread.join()


def test_it_pickles_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


async def test_a_call_with_wrong_arguments_is_a_type_error() -> None:
    untyped: Any = retry(attempts=1)(documented)
    with pytest.raises(TypeError):
        await untyped()


@pytest.mark.parametrize("options", [{}, {"spec": documented}])
async def test_an_async_mock_is_retried(options: dict[str, Any]) -> None:
    mock = AsyncMock(side_effect=[KeyError, "done"], **options)
    assert await retry()(mock)(1) == "done"
    assert mock.await_count == 2
