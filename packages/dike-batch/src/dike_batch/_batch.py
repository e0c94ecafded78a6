"""The decorator."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from dike_batch._argument_type import ArgumentType
from dike_batch._decorating import number, require, seconds, wrap

if TYPE_CHECKING:
    from datetime import timedelta

    from dike_batch._batcher import Batcher
    from dike_batch._types import Decorator


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
    """Make one call of a coroutine function out of many concurrent ones.

    Each caller passes containers of rows, lists or numpy arrays, waits, and gets its own rows of the result. The
    function is called with the rows of many callers, one after the other in the order of their arrival, and returns
    as many rows: a container, or a dict of containers. This pays wherever one call for many rows is cheaper than many
    calls: a model on a GPU, an insert into a database, a request to a remote service.

    A batch leaves at the first moment when fewer than `max_concurrent_batches` run and either `target_batch_size` rows
    wait, or the oldest call has waited `max_waiting_time`, or nothing runs and `dispatch_when_idle` is set. What is in
    it is decided only then, so it grows while the function is busy.

    Containers are copied when a call comes, and every caller's result is a copy of its own; elements are never copied.
    Whatever goes wrong with one call, the others do not notice: a call that does not fit is refused alone, and a caller
    that is cancelled is taken out of its batch. An exception of the function goes to all callers of its batch, to each
    as a copy of its own. When the last caller of a batch has been cancelled, so is the batch.

    The decorated function has two more attributes. ``batch_info()`` returns the `BatchInfo` of the running event loop.
    ``await flush()`` sends what waits and returns when that is done, for instance before a shutdown.

    Args:
        target_batch_size: The number of rows that is enough for a batch, > 0. A batch has more when the last call
            brings more. With `math.inf` only time counts.
        max_waiting_time: The longest time, in seconds or as a `timedelta`, that a call waits for others, > 0;
            `math.inf` for as long as it takes. It waits on if `max_concurrent_batches` run.
        max_processing_time: The longest time, in seconds or as a `timedelta`, that the function may take for a batch,
            > 0; `None` for any. After it the callers get a `TimeoutError`, and the function is cancelled.
        argument_type: What callers pass and get: ``"list"``, ``"numpy"``, ``"item"`` or an instance of a subclass of
            `ArgumentType`. With ``"item"`` each argument is a single element, of which the function gets lists, and
            each caller gets one element of the list that it returns, or has it raised if it is an `Exception`.
        max_batch_size: The number of rows that no batch exceeds, a whole number >= `target_batch_size`; `None` for
            any. A single call with more rows is cut into several batches, and its results are put together again.
        max_concurrent_batches: The number of batches that may run at once, a whole number >= 1; `None` for any.
        dispatch_when_idle: Whether a batch leaves at once when none is running. The waiting time is then an upper
            bound that matters only under load: as long as the function is busy, the next batch fills.
        group_by: The names of parameters that are not batched but passed as they are, such as the name of a model.
            Only calls with equal values, which must be hashable, share a batch.

    Returns:
        A decorator for coroutine functions, methods, `functools.partial` and objects with ``async def __call__``.
        A first parameter named ``self`` or ``cls`` marks a method, whose calls are batched for each instance by itself
        and for no longer than they last. Types stay as they are; with ``"item"`` they are those of the function, lists,
        although callers pass and get single elements.

    Raises:
        ValueError: An option is out of its range, what is decorated is not a coroutine function, or numpy is asked for
            and not installed.
        TypeError: An option is of a wrong type.

    To a caller, and to no other, a call raises:
        - `ValueError` if its arguments have no rows or not equally many, or if it passes other arguments by position
          or by name than the calls that wait.
        - `TypeError` if it does not fit the signature, or a value of `group_by` is not hashable.

    To all callers of a batch:
        - `TimeoutError` after `max_processing_time`.
        - `ValueError` if the function returns another number of rows, `TypeError` if it returns no rows at all, such as
          a tuple.
        - `RuntimeError` if the function was cancelled otherwise.

    Example:
        >>> import asyncio
        >>> from dike_batch import batch
        >>> @batch(target_batch_size=3, max_waiting_time=0.01)
        ... async def add(a: list[int], b: list[int]) -> list[int]:
        ...     print("adding", a, "and", b)
        ...     return [x + y for x, y in zip(a, b)]
        >>> async def main() -> None:
        ...     print(await asyncio.gather(add([1], [10]), add([2, 3], [20, 30])))
        >>> asyncio.run(main())
        adding [1, 2, 3] and [10, 20, 30]
        [[11], [22, 33]]

        Single elements, grouped by a parameter that is not batched:

        >>> @batch(target_batch_size=2, max_waiting_time=0.01, argument_type="item", group_by=["base"])
        ... async def parse(digits: list[str], base: int) -> list[int | Exception]:
        ...     print("parsing", digits, "to base", base)
        ...     return [int(d, base) if d.isalnum() else ValueError(d) for d in digits]
        >>> async def main() -> None:
        ...     calls = parse("11", 2), parse("ff", 16), parse("?", 2), parse("10", 16)
        ...     print(await asyncio.gather(*calls, return_exceptions=True))
        >>> asyncio.run(main())
        parsing ['11', '?'] to base 2
        parsing ['ff', '10'] to base 16
        [3, 255, ValueError('?'), 16]
    """
    target = number("target_batch_size", target_batch_size)
    require(target > 0, "target_batch_size", "> 0", target_batch_size)
    max_wait = seconds("max_waiting_time", max_waiting_time)
    require(max_wait > 0, "max_waiting_time", "> 0", max_waiting_time)
    max_processing = inf if max_processing_time is None else seconds("max_processing_time", max_processing_time)
    require(max_processing > 0, "max_processing_time", "> 0", max_processing_time)
    max_rows = limit("max_batch_size", max_batch_size)
    if max_rows < target < inf:
        raise ValueError(f"max_batch_size must be >= target_batch_size={target_batch_size}, but got {max_batch_size}")
    max_running = limit("max_concurrent_batches", max_concurrent_batches)
    if type(dispatch_when_idle) is not bool:
        raise TypeError(f"dispatch_when_idle must be a bool, but got {dispatch_when_idle!r}")
    if isinstance(group_by, str):
        raise TypeError(f"group_by must be names of parameters, but got the string {group_by!r}")
    try:
        names = tuple(group_by)
    except TypeError:
        raise TypeError(f"group_by must be names of parameters, but got {group_by!r}") from None
    # Late: of all that dike has, this takes longest to import, and only batched functions need it.
    from dike_batch._batcher import Batcher
    from dike_batch._containers import container
    from dike_batch._dispatcher import Rules

    rules = Rules(
        target=target,
        max_wait=max_wait,
        max_processing=max_processing,
        max_rows=max_rows,
        max_running=max_running,
        when_idle=dispatch_when_idle,
    )
    rows_of = container(argument_type)

    def decorate(func: Any, /) -> Any:
        batcher: Batcher | None = None

        def shell(func: Any) -> Any:
            nonlocal batcher
            batcher = Batcher(func, rules, rows_of, names)
            return batched(batcher)

        wrapped = wrap(func, coroutine=shell)
        assert batcher is not None
        # Set last, since a function that is batched already has brought its own.
        function = getattr(wrapped, "__func__", wrapped)
        function.batch_info = batcher.batch_info
        function.flush = batcher.flush
        return wrapped

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
