"""The decorator, and the functions that take the place of the decorated ones.

Each of these makes attempts until one succeeds or the call is over; the state of a call is in its local variables.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from dike_retry._budget import RetryBudget
from dike_retry._decorating import named, wrap
from dike_retry._policy import FINAL, FailedAttempt, Judge, Policy
from dike_retry._timing import Timing

if TYPE_CHECKING:
    from datetime import timedelta

    Async = Awaitable[Any] | AsyncIterable[Any]
    F = TypeVar("F", bound=Callable[..., Async] | classmethod[Any, ..., Async] | staticmethod[..., Async])
    Shell = Callable[..., Coroutine[Any, Any, Any]]


def retry(
    *,
    attempts: float | None = None,
    exception_types: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    delay: float | timedelta | None = None,
    backoff: float = 1,
    log_exception_info: bool = True,
    max_delay: float | timedelta | None = None,
    jitter: float = 0.0,
    timeout: float | timedelta | None = None,
    retry_if: Callable[[Any], bool | timedelta] | None = None,
    budget: RetryBudget | None = None,
    on_failure: Callable[[FailedAttempt], object] | None = None,
) -> Callable[[F], F]:
    """Call an ``async`` function again when it fails.

    An attempt that raises one of `exception_types` is answered with another one, after a sleep, until one succeeds or
    an option says that it is enough. Then the last exception is raised as it is, with a note on it if there were
    retries.

    Never retried, whatever `exception_types` says: `asyncio.CancelledError`, `KeyboardInterrupt`, `SystemExit`,
    `GeneratorExit`, and exception groups that hold one of them. Nothing is retried either while the task is being
    cancelled (`asyncio.Task.cancelling`). Before Python 3.13 an `asyncio.TaskGroup` that failed leaves its task in that
    state: there, run one in a task of its own (``await asyncio.create_task(...)``) for its failures to be retried.

    Of an async generator function an attempt may be retried until the first item has been yielded. After that, errors
    go to the consumer, who has seen a part of the stream already.

    Each failure that is answered with another attempt is logged to the logger ``dike`` at level ``WARNING``, and giving
    up after a retry at level ``INFO``. The records have the extra fields `function`, `attempt`, `delay` and
    `exception_type`, those of giving up also `gave_up`, and never the arguments of the function.

    Args:
        attempts: The most attempts that one call makes, at least 1; 2.5 means 3. `None` or `math.inf`: as many as it
            takes.
        exception_types: The exceptions that may be retried: a type, or a tuple of types.
        delay: Seconds, or a `datetime.timedelta`, between the first attempt and the second, at least 0. `None` means 0.
        backoff: The factor by which the delay grows with each further attempt, at least 0.
        log_exception_info: Whether the log shows the traceback of the exception.
        max_delay: The longest sleep, in seconds or as a `datetime.timedelta`, at least `delay`.
        jitter: How much of a delay is random, from 0 to 1. The delay, after `max_delay`, is multiplied by a random
            number between ``1 - jitter`` and 1, from the module `random`. 1 is known as full jitter: see M. Brooker,
            "Exponential backoff and jitter", AWS Architecture Blog (2015).
        timeout: Seconds, or a `datetime.timedelta`, for one call from end to end: all attempts and sleeps together; for
            an async generator function, until the first item. A sleep that would end too late is not begun: the last
            exception is raised at once. An attempt that still runs at that time is cancelled, and a `TimeoutError` is
            raised, with the last exception as its cause. (If the function answers that cancellation with an exception
            of its own, that one comes out.) A cancellation from outside always wins. A `TimeoutError` that the function
            raises by itself is an exception like any other.
        retry_if: Asked about each exception of `exception_types`. `False` raises it, `True` lets it be retried, a
            `datetime.timedelta` does so after exactly that time, without jitter, as when a server asks for it with
            ``Retry-After``. A time below 0 or above `max_delay` is not waited for: the exception is raised.
        budget: Limits the retries to a share of the traffic. See `RetryBudget`.
        on_failure: Called with a `FailedAttempt` after each attempt that failed with one of `exception_types` or was
            cut by the deadline. It must not be ``async``. An `Exception` that it raises is logged and ignored.

    Returns:
        A decorator for coroutine functions and async generator functions: methods, class methods, static methods, and
        `functools.partial` and callable objects of that kind too.

    Raises:
        TypeError: An option is of the wrong type. When called: `retry_if` returned neither a bool nor a `timedelta`.
        ValueError: An option has a wrong value, or what is decorated is of none of these kinds.

    Examples:
        >>> import asyncio
        >>> from dike_retry import retry
        >>> answers = iter([ConnectionError("refused"), ConnectionError("reset"), "hello"])
        >>> @retry(attempts=3, delay=0.001, backoff=2, exception_types=ConnectionError)
        ... async def greet():
        ...     answer = next(answers)
        ...     if isinstance(answer, Exception):
        ...         raise answer
        ...     return answer
        >>> asyncio.run(greet())
        'hello'

        Wait as long as the server asks for, but no longer than `max_delay`. Other errors of the server are retried with
        backoff, those of the client never:

        >>> from datetime import timedelta
        >>> import httpx
        >>> def server_knows_best(exc):
        ...     seconds = exc.response.headers.get("Retry-After", "")
        ...     return timedelta(seconds=int(seconds)) if seconds.isdigit() else exc.response.is_server_error
        >>> responses = iter([httpx.Response(429, headers={"Retry-After": "0"}), httpx.Response(200, text="hello")])
        >>> transport = httpx.MockTransport(lambda request: next(responses))
        >>> @retry(
        ...     attempts=4,
        ...     exception_types=httpx.HTTPStatusError,
        ...     delay=0.1,
        ...     backoff=2,
        ...     max_delay=5,
        ...     retry_if=server_knows_best,
        ...     on_failure=lambda failed: print(f"attempt {failed.attempt}: sleep for {failed.delay}s"),
        ... )
        ... async def get(url):
        ...     async with httpx.AsyncClient(transport=transport) as client:
        ...         response = await client.get(url)
        ...     return response.raise_for_status().text
        >>> asyncio.run(get("https://example.org/"))
        attempt 1: sleep for 0.0s
        'hello'

        Count failures as Prometheus does, with labels (`Counter` stands for that of ``prometheus_client``):

        >>> from collections import Counter
        >>> failures = Counter()
        >>> def count(failed):
        ...     failures[failed.function, type(failed.exception).__name__, failed.gave_up or "retried"] += 1
        >>> @retry(attempts=2, on_failure=count)
        ... async def ask_backend():
        ...     raise TimeoutError
        >>> asyncio.run(ask_backend())
        Traceback (most recent call last):
            ...
        TimeoutError
        gave up on ask_backend after 2 attempts (attempts)
        >>> for labels, value in failures.items():
        ...     print(*labels, value)
        ask_backend TimeoutError retried 1
        ask_backend TimeoutError attempts 1
    """
    policy = Policy(
        attempts=attempts,
        exception_types=exception_types,
        delay=delay,
        backoff=backoff,
        log_exception_info=log_exception_info,
        max_delay=max_delay,
        jitter=jitter,
        timeout=timeout,
        retry_if=retry_if,
        budget=budget,
        on_failure=on_failure,
    )

    def decorate(func: F) -> F:
        decorated: F = wrap(
            func,
            coroutine=lambda func: _coroutine(policy, func),
            async_generator=lambda func: _async_generator(policy, func),
        )
        return decorated

    return decorate


def _coroutine(policy: Policy, func: Any) -> Shell:
    """Return the shell of a coroutine function."""
    return _shell(policy, Judge(policy, named(func).__qualname__), func)


def _async_generator(policy: Policy, func: Any) -> Callable[..., AsyncGenerator[Any, Any]]:
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
