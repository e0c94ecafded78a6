"""Resilience for asyncio web services: the decorators of dike-retry, dike-limit and dike-batch in one import."""

from dike_batch import batch
from dike_limit import TooManyCalls, limit_jobs
from dike_retry import retry

__all__ = ["TooManyCalls", "batch", "limit_jobs", "retry"]
