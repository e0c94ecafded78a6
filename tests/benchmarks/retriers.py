"""Contenders that retry: each makes of a coroutine function one that is called up to three times, with no delay."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import measure

Func = Callable[[], Awaitable[Any]]


def hand_written(func: Func) -> Func:
    """Write what a user would write without a library: the limit of what a decorator could reach."""

    async def retrying(*args: Any, **kwargs: Any) -> Any:
        attempt = 1
        while True:
            try:
                return await func(*args, **kwargs)
            except Exception:
                if attempt == 3:
                    raise
            attempt += 1
            await asyncio.sleep(0)

    return retrying


def dike(func: Func) -> Func:
    from dike_retry import retry

    return retry(attempts=3)(func)


def older_dike(func: Func) -> Func:
    from dike import retry

    return retry(attempts=3)(func)


def hyx(func: Func) -> Func:
    from hyx.retry import retry

    return retry(on=Exception, attempts=2, backoff=0)(func)  # it counts the retries


def backoff(func: Func) -> Func:
    from backoff import constant, on_exception

    return on_exception(constant, Exception, max_tries=3, interval=0, jitter=None)(func)


def stamina(func: Func) -> Func:
    from stamina import retry

    return retry(on=Exception, attempts=3, timeout=None, wait_initial=0, wait_max=0, wait_jitter=0)(func)


def tenacity(func: Func) -> Func:
    from tenacity import retry, stop_after_attempt

    return retry(stop=stop_after_attempt(3), reraise=True)(func)


MAKERS = {
    "hand-written loop": hand_written,
    "dike": dike,
    "dike 1.0.1": older_dike,
    "hyx": hyx,
    "backoff": backoff,
    "stamina": stamina,
    "tenacity": tenacity,
}


class Flaky:
    """A coroutine function that fails `failures` times, then succeeds, and begins anew."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def function(self) -> Func:
        left = self.failures

        async def flaky() -> int:
            nonlocal left
            self.calls += 1
            if left:
                left -= 1
                raise ConnectionError("try again")
            left = self.failures
            return 1

        return flaky


async def check(make: Callable[[Func], Func]) -> None:
    """See a contender do the job: one failure is retried, a third is raised as it is."""
    once, always = Flaky(1), Flaky(10)
    if await make(once.function())() != 1 or once.calls != 2:
        raise AssertionError(f"{make.__name__}: {once.calls} calls of a function that fails once")
    try:
        await make(always.function())()
    except Exception as exc:
        if always.calls != 3:
            raise AssertionError(f"{make.__name__}: {always.calls} calls instead of 3") from exc
    else:
        raise AssertionError(f"{make.__name__}: swallows the last error")


def checked() -> dict[str, Callable[[Func], Func]]:
    """Return those contenders that are installed, each seen to do the job."""
    makers = {name: MAKERS[name] for name in measure.available(MAKERS, Flaky(0).function())}
    logging.disable(logging.CRITICAL)
    try:
        for make in makers.values():
            asyncio.run(check(make))
    finally:
        logging.disable(logging.NOTSET)
    return makers
