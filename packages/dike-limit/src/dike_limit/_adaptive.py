"""A limit that finds itself."""

from __future__ import annotations

import math
from asyncio import get_running_loop
from typing import TYPE_CHECKING, Any

from ._decorating import number, require
from ._limit import Limit

if TYPE_CHECKING:
    from ._adaptive_search import Search
    from ._loops import PerLoop
    from ._rules import Call


class AdaptiveLimit(Limit):
    """A limit that finds itself: ``limit_jobs(limit=AdaptiveLimit())``.

    It looks for the lowest limit at which the service behind the function is never idle, from the latencies of the
    calls. It follows when the service gets slower or quicker, or gets more or fewer workers. There is no task and no
    timer: at the end of a call, at most once a second and after 20 calls at least, the limit may change.

    Calls that succeed are measured, from the moment when they were admitted. Those that fail by one of `drop_on` tell
    of overload. Other errors, cancelled calls and streams (async generators) tell nothing.

    One object serves one limiter, without `key`. Each event loop has a search of its own.

    Args:
        initial: The limit to begin with.
        min: The lowest limit, at least 1.
        max: The highest limit.
        drop_on: Types of exceptions that tell of overload. If a tenth of the calls fail so, the limit is cut.

    Raises:
        TypeError: A limit is not a number, or `drop_on` does not consist of types of exceptions.
        ValueError: Not ``1 <= min <= initial <= max``; or the object is used for a second limiter or with `key`.

    Example:
        >>> import asyncio
        >>> from dike_limit import AdaptiveLimit, limit_jobs
        >>> limiter = limit_jobs(limit=AdaptiveLimit(initial=5, max=200))
        >>> @limiter
        ... async def query(number):
        ...     await asyncio.sleep(0.001)
        ...     return number
        >>> async def main():
        ...     return await asyncio.gather(*(query(number) for number in range(5)))
        >>> asyncio.run(main())
        [0, 1, 2, 3, 4]
        >>> limiter.limit
        5

    The method descends from TCP Vegas (Brakmo and Peterson, 1995) and from Netflix's concurrency-limits. Unlike them
    it changes the limit in trials, to see whether calls queue in the service or it has become slower.
    """

    def __init__(
        self,
        *,
        initial: float = 20,
        min: float = 1,  # noqa: A002
        max: float = 1000,  # noqa: A002
        drop_on: type[Exception] | tuple[type[Exception], ...] = (TimeoutError,),
    ) -> None:
        for name, value in (("initial", initial), ("min", min), ("max", max)):
            number(name, value)
        require(min >= 1, "min", ">= 1", min)
        require(min <= initial < math.inf, "initial", f"finite and >= min={min!r}", initial)
        require(max >= initial, "max", f">= initial={initial!r}", max)
        types: tuple[Any, ...] = drop_on if isinstance(drop_on, tuple) else (drop_on,)
        for kind in types:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise TypeError(f"drop_on must be types of exceptions, but got {drop_on!r}")
        from ._adaptive_call import AdaptiveCall
        from ._loops import PerLoop

        self.call: type[Call] = AdaptiveCall
        self._initial = initial
        self._min = min
        self._max = max
        self._is_bound = False
        self.drop_on: tuple[type[Exception], ...] = types
        self.searches: PerLoop[Search] = PerLoop(self._new_search)

    def __repr__(self) -> str:
        """Tell how it was made."""
        return f"AdaptiveLimit(initial={self._initial}, min={self._min}, max={self._max}, drop_on={self.drop_on})"

    def bind(self, *, has_key: bool) -> None:
        """Refuse a second limiter, and one with a key."""
        if has_key:
            raise ValueError(f"{self!r} cannot be used with key: calls of all keys would be measured together")
        if self._is_bound:
            raise ValueError(f"{self!r} serves another limiter already: make one for each")
        self._is_bound = True

    def on_loop(self) -> Search:
        """Return the search of the running event loop."""
        return self.searches[get_running_loop()]

    def current(self) -> float:
        """Return the limit of the running event loop, or the sum of all if there is none."""
        try:
            return self.on_loop().value
        except RuntimeError:
            searches = list(self.searches.values())
            return sum(search.value for search in searches) if searches else self._initial

    def _new_search(self) -> Search:
        from ._adaptive_search import Search  # Late, as few need it.

        return Search(get_running_loop().time(), self._initial, self._min, self._max)
