"""The functions that take the place of the decorated ones: each makes attempts until one succeeds or a call is over."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from dike_retry import _functions
from dike_retry._budget import RetryBudget
from dike_retry._call import Call
from dike_retry._deadline import Deadline
from dike_retry._policy import Policy


def coroutine(policy: Policy, func: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the shell of a coroutine function: the plain one, unless the options ask for more."""
    if policy.budget is not None:
        func = _depositing(func, policy.budget)
    return _timed(policy, func) if _needs_clock(policy) else _plain(policy, func)


def _plain(policy: Policy, func: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
    exception_types = policy.exception_types
    name = _functions.named(func).__qualname__

    async def shell(*args: Any, **kwargs: Any) -> Any:
        call = None
        while True:
            try:
                return await func(*args, **kwargs)
            except exception_types as exc:
                call = call or Call(policy, name)
                delay = call.judge(exc)
                if delay is None:
                    raise
            # Outside of the except block: nothing may keep the exception and its frames, or become its context.
            await asyncio.sleep(delay)

    return shell


def _timed(policy: Policy, func: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
    exception_types = policy.exception_types
    name = _functions.named(func).__qualname__

    async def shell(*args: Any, **kwargs: Any) -> Any:
        deadline, call = _start(policy, name)
        try:
            while True:
                try:
                    with deadline:
                        return await func(*args, **kwargs)
                except exception_types as exc:
                    delay = call.judge(exc)
                    if delay is None:
                        raise
                await asyncio.sleep(delay)
                call.resume()
        except asyncio.CancelledError:
            if not deadline.cut:
                raise
            raise call.time_out()  # noqa: B904 - the cause is set where there is one
        finally:
            call.forget()

    return shell


def async_generator(policy: Policy, func: Any) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return the shell of an async generator function: attempts until the first item, then a relay."""
    exception_types = policy.exception_types
    name = _functions.named(func).__qualname__

    async def shell(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        deadline, call = _start(policy, name)
        try:
            while True:
                try:
                    with deadline:
                        stream = func(*args, **kwargs)
                        item = await anext(stream)
                    break
                except StopAsyncIteration:
                    if policy.budget is not None:
                        policy.budget.deposit()
                    return
                except exception_types as exc:
                    delay = call.judge(exc)
                    if delay is None:
                        raise
                await asyncio.sleep(delay)
                call.resume()
        except asyncio.CancelledError:
            if not deadline.cut:
                raise
            raise call.time_out()  # noqa: B904 - the cause is set where there is one
        finally:
            call.forget()
        if policy.budget is not None:
            policy.budget.deposit()
        # What follows is PEP 380's `yield from`, which async generators lack.
        thrown = None
        while True:
            try:
                sent = yield item
            except BaseException as exc:
                thrown = exc
            try:
                item = await (stream.asend(sent) if thrown is None else stream.athrow(thrown))
            except StopAsyncIteration:
                return
            finally:
                thrown = None

    return shell


def _start(policy: Policy, name: str) -> tuple[Deadline, Call]:
    started = asyncio.get_running_loop().time() if _needs_clock(policy) else None
    when = started + policy.timeout if started is not None and policy.timeout < math.inf else None
    return Deadline(when), Call(policy, name, started, when)


def _needs_clock(policy: Policy) -> bool:
    return policy.timeout < math.inf or policy.on_failure is not None


def _depositing(func: Any, budget: RetryBudget) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def attempt(*args: Any, **kwargs: Any) -> Any:
        result = await func(*args, **kwargs)
        budget.deposit()
        return result

    return attempt
