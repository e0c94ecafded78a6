"""The decorator."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from dike_retry._budget import RetryBudget
from dike_retry._decorating import wrap
from dike_retry._failed_attempt import FailedAttempt

if TYPE_CHECKING:
    from datetime import timedelta

    Async = Awaitable[Any] | AsyncIterable[Any]
    F = TypeVar("F", bound=Callable[..., Async] | classmethod[Any, ..., Async] | staticmethod[..., Async])


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
    # Late: what decorated functions work with takes long to import, and who uses other decorators of dike needs none.
    from dike_retry import _shells
    from dike_retry._policy import Policy

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
            coroutine=lambda func: _shells.coroutine(policy, func),
            async_generator=lambda func: _shells.async_generator(policy, func),
        )
        return decorated

    return decorate
