"""Contenders that limit how many calls run at once: each makes of a coroutine function one with a limit."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import measure

Func = Callable[..., Awaitable[Any]]
Make = Callable[[Func, int], Func]


class FullError(Exception):
    """The hand-written limiter has no free slot."""


def hand_written(func: Func, limit: int) -> Func:
    """Count, and refuse: the least that a decorator can do."""
    running = 0

    async def limited(*args: Any, **kwargs: Any) -> Any:
        nonlocal running
        if running >= limit:
            raise FullError
        running += 1
        try:
            return await func(*args, **kwargs)
        finally:
            running -= 1

    return limited


def hand_written_queue(func: Func, limit: int) -> Func:
    """Count, and hand a freed slot to the first who waits; nobody is ever cancelled."""
    running = 0
    waiters: deque[asyncio.Future[None]] = deque()

    async def limited(*args: Any, **kwargs: Any) -> Any:
        nonlocal running
        if running >= limit:
            waiter = asyncio.get_running_loop().create_future()
            waiters.append(waiter)
            await waiter
        else:
            running += 1
        try:
            return await func(*args, **kwargs)
        finally:
            if waiters:
                waiters.popleft().set_result(None)
            else:
                running -= 1

    return limited


def dike(func: Func, limit: int) -> Func:
    from dike_limit import limit_jobs

    return limit_jobs(limit=limit)(func)


def dike_queue(func: Func, limit: int) -> Func:
    from dike_limit import limit_jobs

    return limit_jobs(limit=limit, max_waiting_time=float("inf"), max_waiting_calls=1_000_000)(func)


def dike_queue_deadline(func: Func, limit: int) -> Func:
    from dike_limit import limit_jobs

    return limit_jobs(limit=limit, max_waiting_time=60.0, max_waiting_calls=1_000_000)(func)


def older_dike(func: Func, limit: int) -> Func:
    from dike import limit_jobs

    return limit_jobs(limit=limit)(func)


def semaphore(func: Func, limit: int) -> Func:
    limiter = asyncio.Semaphore(limit)

    async def limited(*args: Any, **kwargs: Any) -> Any:
        if limiter.locked():
            raise FullError
        async with limiter:
            return await func(*args, **kwargs)

    return limited


def semaphore_queue(func: Func, limit: int) -> Func:
    limiter = asyncio.Semaphore(limit)

    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with limiter:
            return await func(*args, **kwargs)

    return limited


def anyio(func: Func, limit: int) -> Func:
    from anyio import CapacityLimiter, WouldBlock

    # It must be made inside a loop, and fails outside of it in a slow way: so at the first call.
    limiter: CapacityLimiter | None = None

    async def limited(*args: Any, **kwargs: Any) -> Any:
        nonlocal limiter
        if limiter is None:
            limiter = CapacityLimiter(limit)
        borrower = object()
        try:
            limiter.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock:
            raise FullError from None
        try:
            return await func(*args, **kwargs)
        finally:
            limiter.release_on_behalf_of(borrower)

    return limited


def anyio_queue(func: Func, limit: int) -> Func:
    from anyio import CapacityLimiter

    limiter: CapacityLimiter | None = None

    async def limited(*args: Any, **kwargs: Any) -> Any:
        nonlocal limiter
        if limiter is None:
            limiter = CapacityLimiter(limit)
        async with limiter:
            return await func(*args, **kwargs)

    return limited


def hyx(func: Func, limit: int) -> Func:
    from hyx.bulkhead import bulkhead

    return bulkhead(max_concurrency=limit, max_capacity=limit)(func)


def hyx_queue(func: Func, limit: int) -> Func:
    from hyx.bulkhead import bulkhead

    return bulkhead(max_concurrency=limit, max_capacity=1_000_000)(func)


def aiolimiter(func: Func, limit: int) -> Func:
    """Limit the rate, which is another job; here to show what its bookkeeping costs."""
    from aiolimiter import AsyncLimiter

    limiter = AsyncLimiter(1e9, 1)

    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with limiter:
            return await func(*args, **kwargs)

    return limited


REFUSING: dict[str, Make] = {
    "hand-written counter": hand_written,
    "dike": dike,
    "dike 1.0.1": older_dike,
    "asyncio.Semaphore": semaphore,
    "anyio.CapacityLimiter": anyio,
    "hyx": hyx,
}
WAITING: dict[str, Make] = {
    "hand-written queue": hand_written_queue,
    "dike": dike_queue,
    "dike, waiting time limited": dike_queue_deadline,
    "asyncio.Semaphore": semaphore_queue,
    "anyio.CapacityLimiter": anyio_queue,
    "hyx": hyx_queue,
}


async def check_refusing(make: Make) -> None:
    """See that of three calls at once two are admitted, one is refused, and that the slots come back."""

    async def job() -> int:
        await asyncio.sleep(0)
        return 1

    limited = make(job, 2)
    for _ in range(2):
        results = await asyncio.gather(*(limited() for _ in range(3)), return_exceptions=True)
        if results.count(1) != 2 or not isinstance(results[2], Exception):
            raise AssertionError(f"{make.__name__}: {results}")


async def check_waiting(make: Make) -> None:
    """See that all calls are admitted in the end, and never more than two at once."""
    running = most = 0

    async def job() -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return 1

    limited = make(job, 2)
    results = await asyncio.gather(*(limited() for _ in range(10)))
    if results != [1] * 10 or most != 2:
        raise AssertionError(f"{make.__name__}: {results}, {most} at once")


def checked(makers: dict[str, Make], check: Callable[[Make], Awaitable[None]]) -> dict[str, Make]:
    """Return those contenders that are installed, each seen to do the job."""

    async def job() -> None:
        pass

    found = {name: makers[name] for name in measure.available(makers, job, 1)}
    for make in found.values():
        asyncio.run(check(make))  # type: ignore[arg-type]
    return found
