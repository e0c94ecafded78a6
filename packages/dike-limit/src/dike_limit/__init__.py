"""Concurrency limits for asyncio: load shedding, waiting rooms, and a limit that finds itself."""

from ._adaptive import AdaptiveLimit
from ._limiter import JobLimiter, limit_jobs
from ._shared import SharedLimit
from ._too_many_calls import TooManyCalls

__all__ = ["AdaptiveLimit", "JobLimiter", "SharedLimit", "TooManyCalls", "limit_jobs"]

for _public in (AdaptiveLimit, JobLimiter, SharedLimit, TooManyCalls, limit_jobs):
    _public.__module__ = __name__
del _public
