"""A budget in proportion to traffic, which keeps an outage from becoming a retry storm."""

from __future__ import annotations

import math
from threading import Lock

from dike_retry._decorating import number, require

# Deposits such as ten times 0.1 do not add up to exactly 1.
_TOLERANCE = 1e-9


class RetryBudget:
    """Limits retries to a share of the traffic, to protect a dependency from a retry storm.

    A new budget is full. Every success deposits `ratio`, up to `capacity`; every retry withdraws 1. First attempts are
    free and never wait. While the balance is below 1, nothing is retried: the error comes out at once. So in the long
    run there are at most `ratio` retries per success, however many attempts each call may make.

    One object may serve many functions, event loops and threads: make one for each backend. It is the token bucket of
    Finagle's ``RetryBudget``, of gRPC's retry throttling (gRFC A6) and of the standard mode of the AWS SDKs; M.
    Brooker, "Fixing retries with token buckets and circuit breakers" (2022), tells why.

    Args:
        ratio: Retries that one success pays for, at least 0.
        capacity: The most retries that can be saved up, at least 0.

    Raises:
        TypeError: An argument is not a number.
        ValueError: An argument is negative, infinite or NaN.

    Example:
        One budget for all calls to one backend. Four attempts are allowed, but the budget pays for two retries only:

        >>> import asyncio
        >>> from dike_retry import RetryBudget, retry
        >>> billing = RetryBudget(ratio=0.1, capacity=2)
        >>> requests = []
        >>> @retry(attempts=4, budget=billing)
        ... async def get_invoice(number):
        ...     requests.append(number)
        ...     raise ConnectionError("billing is down")
        >>> async def main():
        ...     for number in range(10):
        ...         try:
        ...             await get_invoice(number)
        ...         except ConnectionError:
        ...             pass
        >>> asyncio.run(main())
        >>> len(requests), billing.balance
        (12, 0.0)
    """

    __slots__ = ("_balance", "_capacity", "_lock", "_ratio")

    def __init__(self, *, ratio: float = 0.1, capacity: float = 10) -> None:
        self._ratio = number("ratio", ratio)
        require(0 <= self._ratio < math.inf, "ratio", "finite and at least 0", ratio)
        self._capacity = number("capacity", capacity)
        require(0 <= self._capacity < math.inf, "capacity", "finite and at least 0", capacity)
        self._balance = self._capacity
        self._lock = Lock()

    @property
    def balance(self) -> float:
        """How many retries the budget would pay for now."""
        return self._balance

    def deposit(self) -> None:
        """Pay in for one success."""
        # The usual case, in which a lock would change nothing.
        if self._balance >= self._capacity:
            return
        with self._lock:
            self._balance = min(self._balance + self._ratio, self._capacity)

    def withdraw(self) -> bool:
        """Pay for one retry, or return `False` if there is not enough."""
        with self._lock:
            if self._balance < 1 - _TOLERANCE:
                return False
            self._balance = max(self._balance - 1, 0.0)
            return True

    def __repr__(self) -> str:
        return f"RetryBudget(ratio={self._ratio:g}, capacity={self._capacity:g}, balance={self._balance:g})"
