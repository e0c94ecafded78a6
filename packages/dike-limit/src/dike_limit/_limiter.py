"""The decorator."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar

from . import _shells
from ._functions import wrap
from ._limit import NumberLimit
from ._rules import Rules

_Async = Coroutine[Any, Any, Any] | AsyncIterator[Any]
# A string, since classmethod and staticmethod take no subscripts when the program runs.
F = TypeVar("F", bound="Callable[..., _Async] | classmethod[Any, ..., _Async] | staticmethod[..., _Async]")


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
        wrapped: F = wrap(
            func,
            coroutine=partial(_shells.coroutine, self._rules),
            async_generator=partial(_shells.async_generator, self._rules),
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
        number, loops = self._rules.limit, self._rules.loops
        if not isinstance(number, NumberLimit):
            raise AttributeError(f"limit cannot be set, since it was given as {number!r}")
        number.set(limit)
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
        return sum(each.admitted for each in self._rules.loops.in_view())

    @property
    def rejected(self) -> int:
        """How many calls have got `TooManyCalls` so far."""
        return sum(each.rejected for each in self._rules.loops.in_view())
