"""The functions that take the place of the decorated ones: each makes attempts until one succeeds or the call is over.

The state of a call is in the local variables of its shell.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

from dike_retry._budget import RetryBudget
from dike_retry._decorating import named
from dike_retry._policy import FINAL, Judge, Policy
from dike_retry._timing import Timing

Shell = Callable[..., Coroutine[Any, Any, Any]]


def coroutine(policy: Policy, func: Any) -> Shell:
    """Return the shell of a coroutine function."""
    return _shell(policy, Judge(policy, named(func).__qualname__), func)


def async_generator(policy: Policy, func: Any) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return the shell of an async generator function: attempts until the first item, then a relay."""

    async def start(*args: Any, **kwargs: Any) -> Any:
        stream = func(*args, **kwargs)
        try:
            return stream, await _first(stream)
        except StopAsyncIteration:
            return None

    start_with_retries = _shell(policy, Judge(policy, named(func).__qualname__), start)

    async def shell(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        started = await start_with_retries(*args, **kwargs)
        if started is None:
            return
        stream, item = started
        del started
        # What follows is the `yield from` of PEP 380, which async generators lack.
        while True:
            sent = thrown = None
            try:
                sent = yield item
            except BaseException as exc:
                thrown = exc
            del item
            try:
                item = await (stream.asend(sent) if thrown is None else stream.athrow(thrown))
            except StopAsyncIteration:
                return
            finally:
                del thrown

    return shell


def _first(stream: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    # What `anext` does, except that the event loop does not get to know the generator: at its end it would close it at
    # the same time as we do, and complain.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return anext(stream)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _shell(policy: Policy, judge: Judge, func: Any) -> Shell:
    if policy.budget is not None:
        func = _depositing(policy.budget, func)
    needs_clock = policy.timeout < math.inf or policy.on_failure is not None
    return _timed(policy, judge, func) if needs_clock else _plain(policy, judge, func)


def _plain(policy: Policy, judge: Judge, func: Any) -> Shell:
    exception_types, first_delay, backoff, judged = policy.exception_types, policy.delay, policy.backoff, judge.judge

    async def shell(*args: Any, **kwargs: Any) -> Any:
        attempt, base = 1, first_delay
        while True:
            try:
                return await func(*args, **kwargs)
            except FINAL:
                raise
            except exception_types as exc:
                delay = judged(exc, attempt, base)
                if delay is None:
                    raise
            # Outside of the except block, so that nothing keeps the exception and its frames, or gets it as a context.
            await asyncio.sleep(delay)
            attempt += 1
            base *= backoff

    return shell


def _timed(policy: Policy, judge: Judge, func: Any) -> Shell:
    exception_types = policy.exception_types

    async def shell(*args: Any, **kwargs: Any) -> Any:
        attempt, base, timing = 1, policy.delay, Timing(policy.timeout)
        try:
            while True:
                try:
                    with timing:
                        return await func(*args, **kwargs)
                except FINAL:
                    raise
                except exception_types as exc:
                    delay = judge.judge(exc, attempt, base, timing)
                    if delay is None:
                        raise
                await asyncio.sleep(delay)
                if timing.is_over_in(0):
                    raise judge.oversleep(attempt, timing)
                attempt += 1
                base *= policy.backoff
        except asyncio.CancelledError:
            if not timing.cut:
                raise
            raise judge.time_out(attempt, timing)  # noqa: B904 - its cause is the last failure
        finally:
            timing.close()

    return shell


def _depositing(budget: RetryBudget, func: Any) -> Shell:
    async def attempt(*args: Any, **kwargs: Any) -> Any:
        result = await func(*args, **kwargs)
        budget.deposit()
        return result

    return attempt
