"""The factory of the decorator."""

from collections.abc import Callable, Hashable

from ._adaptive import AdaptiveLimit
from ._limiter import JobLimiter
from ._options import timedelta
from ._rules import Rules
from ._shared import SharedLimit


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
    rules = Rules(
        limit=limit,
        max_waiting_time=max_waiting_time,
        max_waiting_calls=max_waiting_calls,
        key=key,
        share=share,
    )
    return JobLimiter(rules)
