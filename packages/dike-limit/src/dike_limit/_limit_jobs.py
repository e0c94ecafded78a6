"""The factory of the decorator."""

from collections.abc import Callable, Hashable
from datetime import timedelta

from ._limit import Limit
from ._limiter import JobLimiter


def limit_jobs(
    *,
    limit: float | Limit,
    max_waiting_time: float | timedelta = 0.0,
    max_waiting_calls: float | None = None,
    key: Callable[..., Hashable] | None = None,
    share: float | Callable[..., float] = 1.0,
) -> JobLimiter:
    """Limit how many calls of a coroutine function or async generator function run at the same time."""
    return JobLimiter(
        limit=limit,
        max_waiting_time=max_waiting_time,
        max_waiting_calls=max_waiting_calls,
        key=key,
        share=share,
    )
