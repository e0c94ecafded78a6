"""The rules of one decorator, how failed attempts are judged by them, and who is told."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import sys
from collections.abc import Callable
from logging import INFO, WARNING, getLogger
from typing import TYPE_CHECKING, Any, cast

from dike_retry._budget import RetryBudget
from dike_retry._decorating import is_async_generator_function, is_coroutine_function, number, require, seconds
from dike_retry._failed_attempt import FailedAttempt, Reason
from dike_retry._no_delay import waits_nothing
from dike_retry._timing import Timing

if TYPE_CHECKING:
    from datetime import timedelta

logger = getLogger("dike")

FINAL = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
# Typed as its base: type checkers know nothing of what is in a group found by isinstance.
GROUP: type[BaseException] = BaseExceptionGroup


if sys.version_info >= (3, 12):  # pragma: no cover
    from asyncio import current_task as current_task
else:  # pragma: no cover
    _current_tasks: dict[object, asyncio.Task[Any]] = vars(asyncio.tasks)["_current_tasks"]

    def current_task() -> asyncio.Task[Any] | None:
        """Return the running task, without the system call that `asyncio.current_task` makes on Python 3.11.

        It asks for the process id each time, in case of a fork, and that takes longer than all else that a failure
        costs here. If one task is running in all threads, it is this one.
        """
        try:
            (task,) = _current_tasks.values()
        except ValueError:
            return asyncio.current_task()
        return task


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
            if verdict is not True:
                delay = _exact_delay(verdict)
                if not 0 <= delay <= self.max_delay:
                    return "retry_if"
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


class Judge:
    """Judges the failed attempts of one function. It holds no state: that of a call is its shell's.

    Args:
        policy: The rules.
        function: The qualified name of the function.
    """

    __slots__ = ("_function", "_policy")

    def __init__(self, policy: Policy, function: str) -> None:
        self._policy = policy
        self._function = function

    def judge(self, exc: BaseException, attempt: int, base: float, timing: Timing | None = None) -> float | None:
        """Return the seconds to sleep before the next attempt, or `None` if `exc`, none of `FINAL`, has to come out."""
        task = current_task()
        if (task is not None and task.cancelling()) or (isinstance(exc, GROUP) and is_final(exc)):
            return None
        outcome = self._policy.decide(exc, attempt, base, timing)
        if isinstance(outcome, str):
            self.give_up(exc, attempt, outcome, timing)
            return None
        if logger.isEnabledFor(WARNING):
            logger.warning(
                "Caught exception %s. Retrying in %.3gs ...",
                _safe_repr(exc),
                outcome,
                # Not the exception itself: logging leaves out one that counts as false.
                exc_info=self._policy.log_exception_info or None,
                extra=self._fields(exc, attempt, outcome),
            )
        if timing is not None:
            timing.remember(exc)
            self._tell(exc, attempt, outcome, None, timing)
        return outcome

    def give_up(self, exc: BaseException, attempt: int, reason: Reason, timing: Timing | None) -> None:
        """Report that `exc` comes out: if there were retries, in the log and on `exc` itself (PEP 678)."""
        if attempt > 1:
            text = f"gave up on {self._function} after {attempt} attempts ({reason})"
            if logger.isEnabledFor(INFO):
                fields = self._fields(exc, attempt, None)
                logger.info("%s: %s", text, _safe_repr(exc), extra={**fields, "gave_up": reason})
            # The note is a courtesy: an exception that takes none must still come out as itself.
            with contextlib.suppress(Exception):
                if text not in getattr(exc, "__notes__", ()):
                    exc.add_note(text)
        if timing is not None:
            self._tell(exc, attempt, None, reason, timing)

    def time_out(self, attempt: int, timing: Timing) -> TimeoutError:
        """Return the error that stands for an attempt cut by the deadline."""
        error = TimeoutError(f"{self._function} took longer than {self._policy.timeout:g}s")
        if timing.last_failure is not None:
            error.__cause__ = timing.last_failure
        self.give_up(error, attempt, "timeout", timing)
        return error

    def oversleep(self, attempt: int, timing: Timing) -> BaseException:
        """Return the last failure again, because the sleep after it took longer than planned, past the deadline."""
        assert timing.last_failure is not None
        self.give_up(timing.last_failure, attempt, "timeout", timing)
        return timing.last_failure

    def _tell(
        self, exc: BaseException, attempt: int, delay: float | None, reason: Reason | None, timing: Timing
    ) -> None:
        if self._policy.on_failure is None:
            return
        try:
            self._policy.on_failure(FailedAttempt(self._function, attempt, exc, delay, timing.elapsed(), reason))
        except Exception:
            logger.exception("Ignored an exception in on_failure", extra={"function": self._function})

    def _fields(self, exc: BaseException, attempt: int, delay: float | None) -> dict[str, object]:
        return {"function": self._function, "attempt": attempt, "delay": delay, "exception_type": type(exc).__name__}


def is_final(exc: BaseException) -> bool:
    """Whether `exc` is one of the exceptions that are never retried, or a group that holds one, at any depth."""
    if not isinstance(exc, BaseExceptionGroup):
        return isinstance(exc, FINAL)
    return any(map(is_final, cast("BaseExceptionGroup[BaseException]", exc).exceptions))


def _exact_delay(verdict: object) -> float:
    from datetime import timedelta  # Imported late: it takes long, and who returns one has imported it already.

    if not isinstance(verdict, timedelta):
        raise TypeError(f"retry_if must return a bool or a timedelta, but it returned {verdict!r}")
    return verdict.total_seconds()


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
    if is_coroutine_function(value) or is_async_generator_function(value):
        raise TypeError(f"{name} must be a plain function, but got {value!r}, which is async")


def _safe_repr(exc: BaseException) -> str:
    # Not left to the logging machinery, which answers a broken repr with a traceback on standard error.
    try:
        return repr(exc)
    except Exception:
        return object.__repr__(exc)
