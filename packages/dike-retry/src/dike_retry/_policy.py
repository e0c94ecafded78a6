"""The rules of one decorator: its options, checked, and what they say after a failed attempt."""

import asyncio
import inspect
import math
from collections.abc import Callable
from typing import Any, cast

from dike_retry import _functions
from dike_retry._budget import RetryBudget
from dike_retry._no_delay import waits_nothing
from dike_retry._options import number, require, seconds, timedelta
from dike_retry._report import FailedAttempt, Reason
from dike_retry._timing import Timing

FINAL = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
# Typed as its base: type checkers know nothing of what is in a group found by isinstance.
GROUP: type[BaseException] = BaseExceptionGroup


class Policy:
    """The options of `retry`, checked and never changed. Times are float seconds; `math.inf` stands for no limit."""

    __slots__ = (
        "attempts",
        "backoff",
        "budget",
        "delay",
        "exception_types",
        "jitter",
        "log_exception_info",
        "max_delay",
        "on_failure",
        "retry_if",
        "timeout",
    )

    def __init__(
        self,
        *,
        attempts: float | None,
        exception_types: type[BaseException] | tuple[type[BaseException], ...],
        delay: float | timedelta | None,
        backoff: float,
        log_exception_info: bool,
        max_delay: float | timedelta | None,
        jitter: float,
        timeout: float | timedelta | None,
        retry_if: Callable[[Any], bool | timedelta] | None,
        budget: RetryBudget | None,
        on_failure: Callable[[FailedAttempt], object] | None,
    ) -> None:
        self.attempts = math.inf if attempts is None else number("attempts", attempts)
        require(self.attempts >= 1, "attempts", "at least 1", attempts)
        _check_exception_types(exception_types)
        self.exception_types = exception_types
        self.delay = 0.0 if delay is None else seconds("delay", delay)
        require(0 <= self.delay < math.inf, "delay", "finite and at least 0", delay)
        self.backoff = number("backoff", backoff)
        require(0 <= self.backoff < math.inf, "backoff", "finite and at least 0", backoff)
        _check_type("log_exception_info", log_exception_info, bool)
        self.log_exception_info = log_exception_info
        self.max_delay = math.inf if max_delay is None else seconds("max_delay", max_delay)
        require(self.max_delay >= self.delay, "max_delay", f"at least the delay of {self.delay:g}s", max_delay)
        self.jitter = number("jitter", jitter)
        require(0 <= self.jitter <= 1, "jitter", "between 0 and 1", jitter)
        self.timeout = math.inf if timeout is None else seconds("timeout", timeout)
        require(self.timeout > 0, "timeout", "more than 0", timeout)
        _check_callback("retry_if", retry_if)
        self.retry_if = retry_if
        if budget is not None:
            _check_type("budget", budget, RetryBudget)
        self.budget = budget
        _check_callback("on_failure", on_failure)
        self.on_failure = on_failure

    def decide(self, exc: BaseException, attempt: int, base: float, timing: Timing | None) -> float | Reason:
        """Return the seconds to sleep before the next attempt, or the reason for giving up.

        Args:
            exc: What the attempt raised.
            attempt: The number of that attempt, from 1.
            base: The delay of the moment, before cap and jitter.
            timing: The time of the call, if a clock matters.
        """
        delay = None
        if self.retry_if is not None:
            verdict = self.retry_if(exc)
            if verdict is False:
                return "retry_if"
            if isinstance(verdict, timedelta):
                delay = verdict.total_seconds()
                if not 0 <= delay <= self.max_delay:
                    return "retry_if"
            elif verdict is not True:
                raise TypeError(f"retry_if must return a bool or a timedelta, but it returned {verdict!r}")
        if attempt >= self.attempts:
            return "attempts"
        if waits_nothing.get():
            delay = 0.0
        elif delay is None:
            delay = base if base < self.max_delay else self.max_delay
            if self.jitter:
                delay *= _random_factor(self.jitter)
        if timing is not None and timing.is_over_in(delay):
            return "timeout"
        if self.budget is not None and not self.budget.withdraw():
            return "budget"
        return delay


def is_final(exc: BaseException) -> bool:
    """Whether `exc` is one of the exceptions that are never retried, or a group that holds one, at any depth."""
    if not isinstance(exc, BaseExceptionGroup):
        return isinstance(exc, FINAL)
    return any(map(is_final, cast("BaseExceptionGroup[BaseException]", exc).exceptions))


def _random_factor(jitter: float) -> float:
    import random  # Imported late: it takes longer to import than this package, and few need it.

    return random.uniform(1 - jitter, 1)


def _check_exception_types(value: type[Any] | tuple[type[Any], ...]) -> None:
    for kind in value if isinstance(value, tuple) else (value,):
        if not (inspect.isclass(kind) and issubclass(kind, BaseException)):
            raise TypeError(f"exception_types must be an exception type or a tuple of them, but got {value!r}")
        if issubclass(kind, FINAL):
            raise ValueError(f"exception_types must not name {kind.__name__}, which is never retried")


def _check_type(name: str, value: object, expected: type) -> None:
    if not isinstance(value, expected):
        raise TypeError(f"{name} must be a {expected.__name__}, but got {value!r}")


def _check_callback(name: str, value: Any) -> None:
    if value is None:
        return
    if not callable(value):
        raise TypeError(f"{name} must be callable, but got {value!r}")
    if _functions.is_coroutine_function(value) or _functions.is_async_generator_function(value):
        raise TypeError(f"{name} must be a plain function, but got {value!r}, which is async")
