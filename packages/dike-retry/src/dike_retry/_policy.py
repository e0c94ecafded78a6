"""The rules: what happens after a failed attempt."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from dike_retry._budget import RetryBudget
from dike_retry._no_delay import waits_nothing
from dike_retry._report import FailedAttempt, Reason

NEVER_RETRIED = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)


class Policy(NamedTuple):
    """The checked options of one decorator. Times are seconds; `math.inf` stands for no limit."""

    attempts: float
    exception_types: type[BaseException] | tuple[type[BaseException], ...]
    delay: float
    backoff: float
    max_delay: float
    jitter: float
    timeout: float
    retry_if: Callable[[Any], bool | timedelta] | None
    budget: RetryBudget | None
    on_failure: Callable[[FailedAttempt], object] | None
    log_exception_info: bool


def is_final(exc: BaseException) -> bool:
    """Whether `exc` is one of the exceptions that are never retried, or a group that holds one."""
    return isinstance(exc, NEVER_RETRIED) or (
        isinstance(exc, BaseExceptionGroup) and any(map(is_final, exc.exceptions))
    )


def decide(
    policy: Policy, exc: BaseException, attempt: int, base: float, now: float, deadline: float | None
) -> float | Reason:
    """Return the seconds to sleep before the next attempt, or the reason for giving up.

    Args:
        policy: The rules.
        exc: What the attempt raised.
        attempt: The number of attempts made.
        base: The delay of the moment, before cap and jitter.
        now: The time on the loop's clock; any number if there is no deadline.
        deadline: When the call must be over on that clock.
    """
    delay = None
    if policy.retry_if is not None:
        verdict = policy.retry_if(exc)
        if verdict is False:
            return "retry_if"
        if isinstance(verdict, timedelta):
            delay = verdict.total_seconds()
            if not 0 <= delay <= policy.max_delay:
                return "retry_if"
        elif verdict is not True:
            raise TypeError(f"retry_if must return a bool or a timedelta, but returned {verdict!r}")
    if attempt >= policy.attempts:
        return "attempts"
    if waits_nothing.get():
        delay = 0.0
    elif delay is None:
        delay = min(base, policy.max_delay)
        if policy.jitter:
            delay *= _share(policy.jitter)
    if deadline is not None and now + delay >= deadline:
        return "timeout"
    if policy.budget is not None and not policy.budget.withdraw():
        return "budget"
    return delay


def _share(jitter: float) -> float:
    import random  # costs more than this whole package, and few need it

    return random.uniform(1 - jitter, 1)
