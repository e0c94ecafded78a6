"""Limits of others that adapt, written from their papers and sources, and a limiter that uses them.

Each has a `limit` and is told of each call that ends. Windows, constants and names are those of the sources,
https://github.com/Netflix/concurrency-limits at version 0.5 where not said otherwise.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from dike_limit import TooManyCalls

Call = Callable[[], Awaitable[None]]


class Adaptive(Protocol):
    """A limit that is told of each call that ends."""

    limit: float

    def ended(self, latency: float, now: float, in_flight: int, dropped: bool) -> None: ...


def limited(adaptive: Adaptive, call: Call) -> Call:
    """Refuse calls over the limit, and tell the limit of the others."""
    in_flight = 0

    async def limited_call() -> None:
        nonlocal in_flight
        if in_flight + 1 > adaptive.limit:
            raise TooManyCalls
        in_flight += 1
        time = asyncio.get_running_loop().time
        began = time()
        dropped = False
        try:
            await call()
        except TimeoutError:
            dropped = True
            raise
        finally:
            adaptive.ended(time() - began, time(), in_flight, dropped)
            in_flight -= 1

    return limited_call


class AIMD:
    """`AIMDLimit`: one more for each call in time, a tenth less for each that was late. No window."""

    def __init__(self, late: float) -> None:
        self.limit: float = 20
        self._late = late

    def ended(self, latency: float, now: float, in_flight: int, dropped: bool) -> None:
        if dropped or latency > self._late:
            self.limit = max(1, min(self.limit - 1, int(self.limit * 0.9)))
        elif in_flight * 2 >= self.limit:
            self.limit = min(self.limit + 1, 1000)


class Windowed:
    """`WindowedLimit`: passes on the mean latency of a second, if it has ten calls."""

    def __init__(self) -> None:
        self.limit: float = 20
        self.exact = 20.0
        self._until = 0.0
        self._open()

    def _open(self) -> None:
        self._calls = 0
        self._time = 0.0
        self._peak = 0
        self._dropped = False

    def ended(self, latency: float, now: float, in_flight: int, dropped: bool) -> None:
        self._calls += 1
        self._time += latency
        self._peak = max(self._peak, in_flight)
        self._dropped |= dropped
        if now > self._until:
            self._until = now + 1
            if self._calls >= 10:
                self.update(self._time / self._calls, self._peak, self._dropped)
                self.limit = int(self.exact)
            self._open()

    def update(self, latency: float, in_flight: int, dropped: bool) -> None:
        raise NotImplementedError


class Vegas(Windowed):
    """`VegasLimit`: steps by the estimated queue; the lowest latency is measured anew now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._base = math.inf
        self._rng = random.Random(0)
        self._windows = 0
        self._jitter = self._rng.uniform(0.5, 1)

    def update(self, latency: float, in_flight: int, dropped: bool) -> None:
        self._windows += 1
        if self._jitter * 30 * self.exact <= self._windows:
            self._jitter = self._rng.uniform(0.5, 1)
            self._windows = 0
            self._base = latency
        elif latency < self._base:
            self._base = latency
        else:
            step = max(1, int(math.log10(self.exact)))
            queued = math.ceil(self.exact * (1 - self._base / latency))
            if dropped:
                self.exact -= step
            elif in_flight * 2 < self.exact:
                return
            elif queued <= step:
                self.exact += 6 * step
            elif queued < 3 * step:
                self.exact += step
            elif queued > 6 * step:
                self.exact -= step
            self.exact = max(1.0, min(1000.0, self.exact))


class Gradient2(Windowed):
    """`Gradient2Limit`: the limit follows the ratio of a long and a short average of the latency."""

    def __init__(self, least: float = 20) -> None:
        super().__init__()
        self._least = least
        self._long = 0.0
        self._count = 0

    def update(self, latency: float, in_flight: int, dropped: bool) -> None:
        self._count += 1
        # The average of the first ten windows, an exponential one of 600 windows then.
        self._long += (latency - self._long) * (1 / self._count if self._count <= 10 else 2 / 601)
        if self._long > 2 * latency:
            self._long *= 0.9
        if in_flight >= self.exact / 2:
            gradient = max(0.5, min(1.0, self._long / latency))
            target = self.exact * gradient + 4
            self.exact = max(self._least, min(200.0, 0.8 * self.exact + 0.2 * target))


class DriftingVegas:
    """Vegas by windows, whose base drifts towards the latency and is reset when a cut has cost throughput.

    This was the first design of `AdaptiveLimit`. Under a lasting overload limit, queue and latency raise each other.
    """

    def __init__(self) -> None:
        self.limit: float = 20
        self._base = math.inf
        self._top = 0.0
        self._open(0.0)

    def _open(self, now: float) -> None:
        self._start = now
        self._calls = 0
        self._drops = 0
        self._time = 0.0
        self._peak = 0

    def ended(self, latency: float, now: float, in_flight: int, dropped: bool) -> None:
        self._peak = max(self._peak, in_flight)
        if now - latency < self._start:
            return
        if dropped:
            self._drops += 1
        else:
            self._calls += 1
            self._time += latency
        if now - self._start >= 1 and self._calls + self._drops >= 20:
            self.limit = max(1.0, min(1000.0, self._next()))
            self._open(now)

    def _next(self) -> float:
        limit = self.limit
        if self._drops > 0.1 * (self._calls + self._drops):
            self._top = 0
            return limit * 0.9
        latency = self._time / self._calls
        self._base = latency if latency < self._base else self._base + 0.01 * (latency - self._base)
        step = max(1.0, math.log10(limit))
        is_too_low = self._peak + 1 > limit and self._calls < 0.9 * self._top - 2 * math.sqrt(self._top)
        if is_too_low:
            self._base = latency
        queued = limit * max(0, 1 - 1.2 * self._base / latency)
        if queued > 6 * step:
            self._top = max(self._top, self._calls)
            return limit - max(step, (queued - 6 * step) / 2)
        self._top = 0
        if 2 * self._peak >= limit:
            if queued <= step:
                return limit + max(step, limit / 4)
            if queued < 3 * step:
                return limit + step
        return limit
