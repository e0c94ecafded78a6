"""What type checkers see of a batched function; when the program runs, it is a plain function."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from dike_batch._batch_info import BatchInfo

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
Self = TypeVar("Self")
Instance = TypeVar("Instance", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Method(Protocol[Instance, P, Result]):
    """A coroutine function with a first argument that can be bound."""

    def __call__(self, instance: Instance, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Result]: ...


class BatchedFunction(Protocol[P, Result]):
    """What `batch` makes of a coroutine function: another with the same signature, and two methods."""

    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Result]: ...

    @overload
    def __get__(self, instance: None, owner: Any = None, /) -> "BatchedFunction[P, Result]": ...
    @overload
    def __get__(self: Method[Self, Q, T], instance: Self, owner: Any = None, /) -> "BatchedFunction[Q, T]": ...
    @overload
    def __get__(self, instance: object, owner: Any = None, /) -> "BatchedFunction[P, Result]": ...

    def batch_info(self) -> BatchInfo:
        """Return the figures of the running event loop, all instances of a method together.

        Raises:
            RuntimeError: No event loop is running.
        """
        ...

    async def flush(self) -> None:
        """Send what waits now, as soon as `max_concurrent_batches` allows it, and return when it is done.

        Exceptions go to the callers only. Cancelling this cancels nothing else.
        """


class Decorator(Protocol):
    """What `batch` returns."""

    @overload
    def __call__(
        self, func: "classmethod[T, P, Coroutine[Any, Any, Result]]", /
    ) -> "classmethod[T, P, Coroutine[Any, Any, Result]]": ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, func: "staticmethod[P, Coroutine[Any, Any, Result]]", /
    ) -> "staticmethod[P, Coroutine[Any, Any, Result]]": ...
    @overload
    def __call__(
        self, func: Callable[Concatenate[type[T], P], Coroutine[Any, Any, Result]], /
    ) -> Callable[Concatenate[type[T], P], Coroutine[Any, Any, Result]]: ...  # all that binds as a class method

    @overload
    def __call__(self, func: Callable[P, Coroutine[Any, Any, Result]], /) -> BatchedFunction[P, Result]: ...
