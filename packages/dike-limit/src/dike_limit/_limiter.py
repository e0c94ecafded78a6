"""The decorator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ._adaptive import AdaptiveLimit
from ._decorating import wrap
from ._shared import SharedLimit

if TYPE_CHECKING:
    from datetime import timedelta

    from ._rules import Rules

    Async = Coroutine[Any, Any, Any] | AsyncIterator[Any]
    F = TypeVar("F", bound=Callable[..., Async] | classmethod[Any, ..., Async] | staticmethod[..., Async])


def limit_jobs(
    *,
    limit: float | AdaptiveLimit | SharedLimit,
    max_waiting_time: float | timedelta = 0.0,
    max_waiting_calls: float | None = None,
    key: Callable[..., Hashable] | None = None,
    share: float | Callable[..., float] = 1.0,
) -> JobLimiter:
    """Limit how many calls of an ``async`` function run at the same time.

    A call over the limit gets `TooManyCalls`, at once unless there is a waiting room. A call takes its slot when it
    first runs, not when the coroutine is made, and frees it however it ends. An async generator function holds its
    slot from the first item asked for until the stream is exhausted, has failed or is closed.

    Each event loop counts for itself. One process has one loop as a rule; see `SharedLimit` for several.

    Args:
        limit: How many calls may run: a number >= 0, `math.inf` included, of which the whole part counts; or an
            `AdaptiveLimit`, or a `SharedLimit`.
        max_waiting_time: How long a call over the limit may wait for a slot, in seconds or as a `timedelta`;
            `math.inf` for as long as it takes. A freed slot goes to the call that has waited longest, of those whose
            share admits them. With a limit below 1 no call begins to wait.
        max_waiting_calls: How many calls may wait, per key; `None` for as many as the limit, rounded up.
        key: A function of the call's arguments. Each value that it returns, which must be hashable, has slots and a
            waiting room of its own; a call for which it returns `None` is not limited and not counted. A key takes
            memory only while calls of it run or wait.
        share: The part of the limit up to which a call may fill it, in (0, 1]; or a function of the call's arguments
            that returns it. With a share of 0.5, a call is admitted while less than half of the slots are taken: the
            less important the work, the earlier it is shed.

    Returns:
        The decorator, a `JobLimiter`: for several functions if they shall share the slots, and for a stretch of code
        with `JobLimiter.slot`.

    Raises:
        TypeError: An option is of the wrong type; at a call: the key is not hashable.
        ValueError: An option has a wrong value; the decorated function is neither a coroutine function nor an async
            generator function; at a call: `share` has not returned a number in (0, 1].

    Examples:
        A pool of processes that is kept busy, but never buried: two calls may work, two may wait a moment.

        >>> import asyncio
        >>> import math
        >>> from concurrent.futures import ProcessPoolExecutor
        >>> from multiprocessing import get_context
        >>> from dike_limit import TooManyCalls, limit_jobs
        >>> pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
        >>> @limit_jobs(limit=2, max_waiting_time=5, max_waiting_calls=2)
        ... async def factorial(number: int) -> int:
        ...     return await asyncio.get_running_loop().run_in_executor(pool, math.factorial, number)
        >>> async def main():
        ...     return await asyncio.gather(*map(factorial, range(5)), return_exceptions=True)
        >>> with pool:
        ...     asyncio.run(main())
        [1, 1, 2, 6, TooManyCalls('Too many calls to function factorial! limit=2 exceeded')]

        A limit for each tenant, and none for those on the list.

        >>> staff = {"alice"}
        >>> @limit_jobs(limit=1, key=lambda tenant: None if tenant in staff else tenant)
        ... async def report(tenant: str) -> str:
        ...     await asyncio.sleep(0.001)
        ...     return f"report for {tenant}"
        >>> async def main():
        ...     for result in await asyncio.gather(
        ...         *map(report, ["bob", "bob", "carol", "alice", "alice"]), return_exceptions=True
        ...     ):
        ...         print(result)
        >>> asyncio.run(main())
        report for bob
        Too many calls to function report! limit=1 exceeded
        report for carol
        report for alice
        report for alice

        Background work may fill half of the slots, and leaves the rest to the users.

        >>> @limit_jobs(limit=4, share=lambda background: 0.5 if background else 1)
        ... async def query(background: bool) -> str:
        ...     await asyncio.sleep(0.001)
        ...     return "background" if background else "user"
        >>> async def main():
        ...     for result in await asyncio.gather(
        ...         query(True), query(True), query(True), query(False), query(False), return_exceptions=True
        ...     ):
        ...         print(result)
        >>> asyncio.run(main())
        background
        background
        Too many calls to function query! limit=4 exceeded
        user
        user

        How a FastAPI handler answers with ``503 Service Unavailable`` is shown at `TooManyCalls`.
    """
    # Late: what limited functions work with takes long to import, and who uses other decorators of dike needs none.
    from ._rules import Rules

    rules = Rules(
        limit=limit,
        max_waiting_time=max_waiting_time,
        max_waiting_calls=max_waiting_calls,
        key=key,
        share=share,
    )
    return JobLimiter(rules)


class JobLimiter:
    """The decorator that `limit_jobs` makes.

    Functions under the same limiter share its slots. Inside an event loop the counters are those of that loop;
    elsewhere they are sums over all event loops.

    Example:
        >>> import asyncio
        >>> from dike_limit import limit_jobs
        >>> database = limit_jobs(limit=10, max_waiting_time=1)
        >>> @database
        ... async def read() -> str:
        ...     return f"{database.in_flight} in flight"
        >>> async def main():
        ...     async with database.slot():
        ...         print(await read())
        >>> asyncio.run(main())
        2 in flight
        >>> database.in_flight, database.waiting, database.admitted, database.rejected
        (0, 0, 2, 0)
        >>> database.limit = 20
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def __call__(self, func: F) -> F:
        """Limit a function.

        Args:
            func: A coroutine function or an async generator function; a method, a `classmethod` or `staticmethod`, a
                `functools.partial` of such a function, or an object with ``async def __call__``.

        Raises:
            ValueError: `func` is none of these.
        """
        from ._shells import async_generator, coroutine

        wrapped: F = wrap(
            func,
            coroutine=partial(coroutine, self._rules),
            async_generator=partial(async_generator, self._rules),
        )
        return wrapped

    def slot(self, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[None, None]:
        """Limit a stretch of code: ``async with limiter.slot(): ...``.

        What it returns is for one ``async with``: call it anew for each.

        Args:
            *args: What `key` and `share` get.
            **kwargs: What `key` and `share` get.

        Raises:
            TooManyCalls: On entering, as for a call.
        """
        return self._rules.limit.call(self._rules, args, kwargs)

    @property
    def limit(self) -> float:
        """The limit of the moment.

        It can be set if it was given as a number. Calls that wait profit from a higher limit: on the running event
        loop at once, on others when a slot of theirs frees. A lower limit stops nothing that runs.

        Raises:
            AttributeError: When set: it is an `AdaptiveLimit` or a `SharedLimit`.
            TypeError: When set: it is not a number.
            ValueError: When set: it is negative or NaN.
        """
        return self._rules.limit.current()

    @limit.setter
    def limit(self, limit: float) -> None:
        self._rules.limit.set(limit)
        loops = self._rules.loops
        loops.forget_last()
        try:
            here = loops.here()
        except RuntimeError:
            # No event loop is running here, and those in other threads must do it themselves: futures are theirs.
            return
        for slots in here.all():
            slots.look()

    @property
    def in_flight(self) -> int:
        """How many calls run now."""
        return sum(slots.in_flight for each in self._rules.loops.in_view() for slots in each.all())

    @property
    def waiting(self) -> int:
        """How many calls wait now."""
        return sum(slots.waiting for each in self._rules.loops.in_view() for slots in each.all())

    @property
    def admitted(self) -> int:
        """How many calls have been admitted so far."""
        return int(sum(each.admitted for each in self._rules.loops.in_view()))

    @property
    def rejected(self) -> int:
        """How many calls have got `TooManyCalls` so far."""
        return sum(each.rejected for each in self._rules.loops.in_view())
