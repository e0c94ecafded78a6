"""Functions, methods and other callables."""

import asyncio
import functools
import gc
import inspect
import weakref
from collections.abc import AsyncIterator
from typing import Any

import dike_batch
import pytest
from batch.backend import settle, start
from dike_batch import ArgumentType, BatchInfo, batch
from dike_batch._decorating import wrap

decorate: Any = batch(target_batch_size=2, max_waiting_time=1)


async def double(rows: list[int], factor: int = 2) -> list[int]:
    """Double all rows."""
    return [factor * row for row in rows]


class Service:
    """A class with batched methods of all kinds."""

    batches: list[Any]

    def __init__(self) -> None:
        self.batches = []

    @decorate
    async def method(self, rows: list[int]) -> list[int]:
        """Do it."""
        self.batches.append(rows)
        return rows

    @classmethod
    @decorate
    async def inner_class_method(cls, rows: list[int]) -> list[Any]:
        return [(cls.__name__, len(rows), row) for row in rows]

    @decorate
    @classmethod
    async def outer_class_method(cls, rows: list[int]) -> list[Any]:
        return [(cls.__name__, len(rows), row) for row in rows]

    @staticmethod
    @decorate
    async def inner_static_method(rows: list[int]) -> list[Any]:
        return [(len(rows), row) for row in rows]

    @decorate
    @staticmethod
    async def outer_static_method(rows: list[int]) -> list[Any]:
        return [(len(rows), row) for row in rows]

    @batch(target_batch_size=2, max_waiting_time=1, argument_type="item", group_by=("model",))
    async def grouped(self, items: list[int], *, model: str) -> list[Any]:
        return [(self, len(items), item, model) for item in items]


class Sub(Service):
    pass


def test_name_doc_signature_and_wrapped_are_kept() -> None:
    function = decorate(double)
    assert function.__name__ == "double"
    assert function.__qualname__ == "double"
    assert function.__module__ == __name__
    assert function.__doc__ == "Double all rows."
    assert function.__wrapped__ is double
    assert inspect.signature(function) == inspect.signature(double)
    assert Service.method.__qualname__ == "Service.method"


def test_the_result_is_a_coroutine_function() -> None:
    assert inspect.iscoroutinefunction(decorate(double))
    assert asyncio.iscoroutinefunction(decorate(double)) if hasattr(asyncio, "iscoroutinefunction") else True
    assert inspect.iscoroutinefunction(Service.method)
    assert inspect.iscoroutinefunction(Service().method)
    assert inspect.iscoroutinefunction(Service.inner_class_method)
    assert inspect.iscoroutinefunction(Service.outer_static_method)


async def test_methods_are_batched_for_each_instance_by_itself() -> None:
    one, other = Service(), Service()
    results = await asyncio.gather(one.method([1]), other.method([2]), one.method([3]), other.method([4]))
    assert results == [[1], [2], [3], [4]]
    assert (one.batches, other.batches) == ([[1, 3]], [[2, 4]])


async def test_a_method_may_be_called_on_its_class() -> None:
    service = Service()
    first, second = await asyncio.gather(service.method([1]), Service.method(service, [2]))
    assert (first, second, service.batches) == ([1], [2], [[1, 2]])
    assert await Service.method(self=service, rows=[3]) == [3]
    with pytest.raises(TypeError, match="missing a required argument: 'self'"):
        await Service.method(rows=[3])


@pytest.mark.parametrize("name", ["inner_class_method", "outer_class_method"])
async def test_class_methods_are_batched_for_each_class(name: str) -> None:
    calls = [
        getattr(Service, name)([1]),
        getattr(Service(), name)([2]),
        getattr(Sub, name)([3]),
        getattr(Sub(), name)([4]),
    ]
    assert await asyncio.gather(*calls) == [[("Service", 2, 1)], [("Service", 2, 2)], [("Sub", 2, 3)], [("Sub", 2, 4)]]


@pytest.mark.parametrize("name", ["inner_static_method", "outer_static_method"])
async def test_static_methods_are_batched_as_functions(name: str) -> None:
    calls = [
        getattr(Service, name)([1]),
        getattr(Service(), name)([2]),
        getattr(Sub(), name)([3]),
        getattr(Sub, name)([4]),
    ]
    assert await asyncio.gather(*calls) == [[(2, 1)], [(2, 2)], [(2, 3)], [(2, 4)]]


async def test_methods_take_groups_and_items() -> None:
    one, other = Service(), Service()
    calls = one.grouped(1, model="a"), one.grouped(2, model="b"), other.grouped(3, model="a"), one.grouped(4, model="a")
    assert await asyncio.gather(*calls) == [(one, 2, 1, "a"), (one, 1, 2, "b"), (other, 1, 3, "a"), (one, 2, 4, "a")]


class Slotted:
    """It can be neither hashed nor referred to weakly."""

    __slots__ = ("batches",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def __eq__(self, other: object) -> bool:
        return True

    @batch(target_batch_size=2, max_waiting_time=1, max_concurrent_batches=1)
    async def method(self, rows: list[int]) -> list[int]:
        self.batches.append(rows)
        return rows


async def test_instances_are_told_apart_by_identity_also_if_unhashable_equal_and_with_slots() -> None:
    one, other = Slotted(), Slotted()
    await asyncio.gather(one.method([1]), other.method([2]), one.method([3]), other.method([4]))
    assert (one.batches, other.batches) == ([[1, 3]], [[2, 4]])


async def test_concurrency_is_counted_for_each_instance() -> None:
    sent_at = []

    class Model:
        @batch(target_batch_size=1, max_waiting_time=1, max_batch_size=1, max_concurrent_batches=1)
        async def predict(self, rows: list[int]) -> list[int]:
            sent_at.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1)
            return rows

    one, other = Model(), Model()
    await asyncio.gather(*[model.predict([i]) for i in range(2) for model in (one, other)])
    assert sent_at == [0, 0, 1, 1]


async def test_nothing_keeps_an_instance_once_its_calls_are_over() -> None:
    service = Service()
    await asyncio.gather(service.method([1]), service.method([2]))
    gone = weakref.ref(service)
    del service
    assert gone() is None


async def test_nothing_keeps_an_instance_whose_function_failed_or_whose_callers_are_gone() -> None:
    class Failing:
        @batch(target_batch_size=2, max_waiting_time=1)
        async def method(self, rows: list[int]) -> list[int]:
            if rows[0] == 0:
                raise ValueError
            await asyncio.sleep(100)
            return rows

    async def fail() -> weakref.ref[Failing]:
        failing = Failing()
        await asyncio.gather(failing.method([0]), failing.method([0]), return_exceptions=True)
        return weakref.ref(failing)

    async def leave(number: int) -> weakref.ref[Failing]:
        failing = Failing()
        tasks = [start(failing.method([1])) for _ in range(number)]
        await settle()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await settle()
        return weakref.ref(failing)

    gone = [await fail(), await leave(1), await leave(2)]
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


async def test_an_instance_that_nobody_else_knows_lives_until_its_calls_are_over() -> None:
    call = start(Service().method([1]))
    await settle()
    gc.collect()
    assert await call == [1]


async def test_many_short_lived_instances_leave_no_state_behind() -> None:
    for i in range(100):
        assert await asyncio.gather(Service().method([i]), Service().method([-i])) == [[i], [-i]]
    assert Service.method.batch_info().waiting_rows == 0


async def test_partials_are_batched() -> None:
    triple = decorate(functools.partial(functools.partial(double), factor=3))
    with pytest.raises(ValueError, match="must have the same length"):
        await triple([1], factor=[1, 2])
    assert await asyncio.gather(triple([1]), triple([2])) == [[3], [6]]
    assert triple.__name__ == "double"


async def test_a_partial_of_a_method_is_no_method() -> None:
    service = Service()
    call = decorate(functools.partial(Service.method.__wrapped__, service))
    assert await asyncio.gather(call([1]), call([2])) == [[1], [2]]


async def test_bound_methods_are_batched() -> None:
    service = Service()
    call = decorate(service.method.__wrapped__.__get__(service))
    assert await asyncio.gather(call([1]), call([2])) == [[1], [2]]


async def test_objects_with_an_async_call_are_batched() -> None:
    class Doubler:
        """It doubles."""

        async def __call__(self, rows: list[int]) -> list[int]:
            return [2 * row for row in rows]

    function = decorate(Doubler())
    assert inspect.iscoroutinefunction(function)
    assert await asyncio.gather(function([1]), function([2])) == [[2], [4]]
    assert function.__name__ == "Doubler"
    assert function.__doc__ == "It doubles."


async def test_decorators_stack_in_any_order_and_show_the_figures_of_the_batch() -> None:
    def other(func: Any) -> Any:
        @functools.wraps(func)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await func(*args, **kwargs)

        return wrapper

    for function in (other(decorate(double)), decorate(other(double))):
        assert await asyncio.gather(function([1]), function([2])) == [[2], [4]]
        assert function.batch_info().batches == 1
        await function.flush()


async def test_of_two_batches_that_are_stacked_the_outer_one_shows_its_own_figures() -> None:
    inner = decorate(double)
    outer = batch(target_batch_size=1, max_waiting_time=1)(inner)
    await asyncio.gather(outer([1]), outer([2]))
    assert (outer.batch_info().batches, inner.batch_info().batches) == (2, 1)


async def test_bound_methods_show_the_figures_and_can_be_flushed() -> None:
    service = Service()
    call = start(service.method([1]))
    await settle()
    assert service.method.batch_info().waiting_rows == 1
    await service.method.flush()
    assert await call == [1]
    assert Service.inner_class_method.batch_info() == Service().outer_static_method.batch_info() == (0,) * 6


def test_all_is_what_is_public_and_belongs_to_the_facade() -> None:
    assert dike_batch.__all__ == sorted(dike_batch.__all__)
    for public in (ArgumentType, BatchInfo, batch):
        assert public.__module__ == "dike_batch"
        assert public.__name__ in dike_batch.__all__
    public_names = {name for name in vars(dike_batch) if not name.startswith("_")}
    assert public_names == set(dike_batch.__all__)


def test_the_helper_that_all_packages_have_knows_async_generators_too() -> None:
    async def stream() -> AsyncIterator[int]:
        yield 1

    def shell(func: Any) -> Any:
        return lambda: func

    with pytest.raises(ValueError, match="Only coroutines can be wrapped"):
        wrap(stream, coroutine=shell)
    assert wrap(stream, coroutine=shell, async_generator=shell)() is stream
