"""The decorator."""

from asyncio import CancelledError
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from math import inf
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from dike_batch._arguments import ArgumentType
from dike_batch._arguments import argument_type as resolve
from dike_batch._batcher import Batcher, BatchInfo
from dike_batch._dispatcher import Rules
from dike_batch._functions import wrap
from dike_batch._options import number, require, seconds

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R", covariant=True)


class BatchedFunction(Protocol[P, R]):
    """What `batch` makes of a coroutine function: another with the same signature, and two methods."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...

    @overload
    def __get__(self, instance: None, owner: Any = None, /) -> "BatchedFunction[P, R]": ...
    @overload
    def __get__(
        self: "BatchedFunction[Concatenate[S, Q], T]", instance: S, owner: Any = None, /
    ) -> "BatchedFunction[Q, T]": ...

    def batch_info(self) -> BatchInfo:
        """Return the figures of the running event loop, all instances of a method together.

        Raises:
            RuntimeError: No event loop is running.
        """

    async def flush(self) -> None:
        """Send what waits now, as soon as `max_concurrent_batches` allows, and return when that is done.

        Exceptions of the batches go to their callers only. Cancelling this cancels nothing else.
        """


class Decorator(Protocol):
    """What `batch` returns."""

    @overload
    def __call__(
        self, func: "classmethod[T, P, Coroutine[Any, Any, R]]", /
    ) -> "classmethod[T, P, Coroutine[Any, Any, R]]": ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # a staticmethod can be called, too
        self, func: "staticmethod[P, Coroutine[Any, Any, R]]", /
    ) -> "staticmethod[P, Coroutine[Any, Any, R]]": ...
    @overload
    def __call__(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> BatchedFunction[P, R]: ...


def batch(
    *,
    target_batch_size: float,
    max_waiting_time: float | timedelta,
    max_processing_time: float | timedelta | None = 10.0,
    argument_type: Literal["list", "numpy", "item"] | ArgumentType = "list",
    max_batch_size: int | None = None,
    max_concurrent_batches: int | None = None,
    dispatch_when_idle: bool = False,
    group_by: Iterable[str] = (),
) -> Decorator:
    """Batch."""
    target = number("target_batch_size", target_batch_size)
    require(target > 0, "target_batch_size", "> 0", target_batch_size)
    max_wait = seconds("max_waiting_time", max_waiting_time)
    require(max_wait > 0, "max_waiting_time", "> 0", max_waiting_time)
    max_processing = inf if max_processing_time is None else seconds("max_processing_time", max_processing_time)
    require(max_processing > 0, "max_processing_time", "> 0", max_processing_time)
    max_rows = limit("max_batch_size", max_batch_size)
    require(max_rows >= target or target == inf, "max_batch_size", ">= target_batch_size", max_batch_size)
    max_running = limit("max_concurrent_batches", max_concurrent_batches)
    if not isinstance(dispatch_when_idle, bool):
        raise TypeError(f"dispatch_when_idle must be a bool, but got {dispatch_when_idle!r}")
    if isinstance(group_by, str):
        raise TypeError(f"group_by must be names of parameters, but got the string {group_by!r}")
    names = tuple(group_by)
    rules = Rules(target, max_wait, max_processing, max_rows, max_running, dispatch_when_idle)
    container = resolve(argument_type)

    def decorate(func: Any, /) -> Any:
        if isinstance(func, classmethod | staticmethod):
            return type(func)(decorate(func.__func__))
        batcher: Batcher | None = None

        def shell(func: Any) -> Any:
            nonlocal batcher
            batcher = Batcher(func, rules, container, names)
            return batched(batcher)

        function = wrap(func, coroutine=shell)
        assert batcher is not None
        # Set last, since a function that is batched already has brought its own.
        function.batch_info = batcher.batch_info
        function.flush = batcher.flush
        return function

    return decorate


def batched(batcher: Batcher) -> Any:
    """Return the coroutine function whose callers wait for their batches."""
    submit = batcher.submit
    leave = batcher.leave

    async def call(*args: Any, **kwargs: Any) -> Any:
        entry = submit(args, kwargs)
        # Nothing is kept for the time of the wait, above all not the containers that have been copied.
        del args, kwargs
        try:
            return await entry.future
        except (CancelledError, GeneratorExit):
            leave(entry)
            raise
        finally:
            # An exception keeps this frame, so the frame must not keep the exception.
            del entry

    return call


def limit(name: str, value: Any) -> float:
    """Return the whole number `value`, or `inf` for `None`."""
    if value is None:
        return inf
    result = number(name, value)
    require(result >= 1 and (result == inf or result == int(result)), name, "a whole number >= 1", value)
    return result
