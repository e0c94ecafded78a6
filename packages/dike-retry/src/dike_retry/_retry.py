"""The decorator: its options are checked here, and nowhere else."""

import inspect
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from dike_retry import _functions, _shells
from dike_retry._budget import RetryBudget
from dike_retry._options import number, require, seconds
from dike_retry._policy import NEVER_RETRIED, Policy
from dike_retry._report import FailedAttempt

# A string, since classmethod and staticmethod cannot be subscripted when the program runs.
F = TypeVar(
    "F",
    bound="Callable[..., Coroutine[Any, Any, Any] | AsyncIterator[Any]] "
    "| classmethod[Any, ..., Any] | staticmethod[..., Any]",
)


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
    calls = math.inf if attempts is None else number("attempts", attempts)
    require(calls >= 1, "attempts", "at least 1", attempts)
    _check_exception_types(exception_types)
    first = 0.0 if delay is None else seconds("delay", delay)
    require(0 <= first < math.inf, "delay", "finite and at least 0 seconds", delay)
    factor = number("backoff", backoff)
    require(0 <= factor < math.inf, "backoff", "finite and at least 0", backoff)
    if not isinstance(log_exception_info, bool):
        raise TypeError(f"log_exception_info must be a bool, but got {log_exception_info!r}")
    cap = math.inf if max_delay is None else seconds("max_delay", max_delay)
    require(cap >= first, "max_delay", f"at least the delay of {first:g} seconds", max_delay)
    spread = number("jitter", jitter)
    require(0 <= spread <= 1, "jitter", "between 0 and 1", jitter)
    limit = math.inf if timeout is None else seconds("timeout", timeout)
    require(limit > 0, "timeout", "more than 0 seconds", timeout)
    _check_callback("retry_if", retry_if)
    if budget is not None and not isinstance(budget, RetryBudget):
        raise TypeError(f"budget must be a RetryBudget, but got {budget!r}")
    _check_callback("on_failure", on_failure)
    policy = Policy(
        attempts=calls,
        exception_types=exception_types,
        delay=first,
        backoff=factor,
        log_exception_info=log_exception_info,
        max_delay=cap,
        jitter=spread,
        timeout=limit,
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


def _check_exception_types(value: Any) -> None:
    for kind in value if isinstance(value, tuple) else (value,):
        if not (inspect.isclass(kind) and issubclass(kind, BaseException)):
            raise TypeError(f"exception_types must be an exception type or a tuple of them, but got {value!r}")
        if issubclass(kind, NEVER_RETRIED):
            raise ValueError(f"exception_types must not name {kind.__name__}, which is never retried")


def _check_callback(name: str, value: Any) -> None:
    if value is None:
        return
    if not callable(value):
        raise TypeError(f"{name} must be callable, but got {value!r}")
    if _functions.is_coroutine_function(value) or _functions.is_async_generator_function(value):
        raise TypeError(f"{name} must be a plain function, but got {value!r}, which is async")
