"""The decorator."""

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from dike_retry import _functions, _shells
from dike_retry._budget import RetryBudget
from dike_retry._policy import Policy
from dike_retry._report import FailedAttempt

_Async = Coroutine[Any, Any, Any] | AsyncIterator[Any]
# A string, since classmethod and staticmethod take no subscripts when the program runs.
F = TypeVar("F", bound="Callable[..., _Async] | classmethod[Any, ..., _Async] | staticmethod[..., _Async]")


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
    """Retry a coroutine function or an async generator function when it fails."""
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
        decorated: F = _functions.wrap(
            func,
            coroutine=lambda func: _shells.coroutine(policy, func),
            async_generator=lambda func: _shells.async_generator(policy, func),
        )
        return decorated

    return decorate
