"""Retries for asyncio: backoff, deadline, and a budget against retry storms."""

from dike_retry._budget import RetryBudget
from dike_retry._failed_attempt import FailedAttempt
from dike_retry._no_delay import no_delay
from dike_retry._retry import retry

__all__ = ["FailedAttempt", "RetryBudget", "no_delay", "retry"]

for _public in (FailedAttempt, RetryBudget, no_delay, retry):
    _public.__module__ = __name__
del _public
