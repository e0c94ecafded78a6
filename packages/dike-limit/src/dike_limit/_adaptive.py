"""A limit that finds itself.

How many calls can a service work on at the same time before they only queue up in it? By Little's law that is its
throughput times the latency of a call that meets no queue, called `base` here; TCP Vegas [1] finds a congestion window
in this way, and Netflix's concurrency-limits [2] the limits of services. Of ``throughput * latency`` calls in flight,
``throughput * (latency - base)`` queue, whether the limit is used or not. A few are wanted there, so that the service
never idles; below that the limit grows, above it is cut. Estimates in queued calls, unlike a tolerated latency or a
ratio of latencies, do not drive the limit to its minimum when the service gets slower.

But they stand and fall with `base`, and a mean latency does not tell a queue from slow work. Taking the lowest latency
seen fails when the service itself gets slower (all its work then looks like a queue) and when it was overloaded from
the start (the queue then looks like work). Letting `base` drift towards the latency fails slowly: under a lasting
overload limit, queue and latency raise each other. So `base` is measured by *trials*. The limit is changed, and the
next window judges: if the calls in flight queue, a latency follows the limit; if they are worked on, it stays as it
was. Then `base` becomes the latency of the trial. BBR [3] probes its path for the same reason.

* A cut is a trial. If it was not worth it, it is taken back.
* While the limit is held, trials are made on purpose, ever more rarely: up, which costs some latency for one window
  only, in case that `base` is too low; down, which costs some throughput, in case that it is too high.

Means are noisy. Their standard errors are known, and every doubt is in favor of the service being fine.

A call that fails by one of `drop_on` is a drop. A share of drops 10 points above the lowest share seen is answered
by a cut in proportion, as in DCTCP [4]. It is a trial too: if it was not worth it, that share is seen as normal.

[1] L. Brakmo, L. Peterson: TCP Vegas. IEEE J. Sel. Areas Commun. 13(8), 1995.
[2] https://github.com/Netflix/concurrency-limits
[3] N. Cardwell et al.: BBR, congestion-based congestion control. ACM Queue 14(5), 2016.
[4] M. Alizadeh et al.: Data center TCP (DCTCP). SIGCOMM 2010.
"""

import math
from asyncio import get_running_loop
from types import TracebackType
from typing import Any

from . import _options
from ._call import Call
from ._limit import Limit
from ._loops import PerLoop

# A window closes after so many seconds and so many calls measured.
_WINDOW = 1.0
_SAMPLES = 20
# Windows in which the limit is held before the next trial: at first, doubled as trials agree, and at most.
_PATIENCE = 4
_MOST_PATIENCE = 64


class Search:
    """The search for the limit of one event loop, told of each call that ends.

    Args:
        now: The time.
        initial: The limit to begin with.
        lowest: The lowest limit.
        highest: The highest limit.

    Attributes:
        value: The limit.
    """

    __slots__ = (
        "_base",
        "_base_drops",
        "_dropped_time",
        "_drops",
        "_held",
        "_highest",
        "_is_base_proven",
        "_is_suspicious",
        "_latency_before",
        "_limit_before",
        "_lowest",
        "_patience",
        "_peak",
        "_samples",
        "_squares",
        "_stale",
        "_start",
        "_time",
        "value",
    )

    def __init__(self, now: float, initial: float, lowest: float, highest: float) -> None:
        self.value = initial
        self._lowest = lowest
        self._highest = highest
        # What the service does without a queue.
        self._base = math.inf
        self._base_drops = 0.0
        self._is_base_proven = False
        # The trial that is going on, if any: limit and latency before it.
        self._limit_before = 0.0
        self._latency_before = 0.0
        self._is_suspicious = False
        self._held = 0
        self._patience = _PATIENCE
        # The window: after a change, calls that began before it must first leave.
        self._stale = 0
        self._open(now)

    def _open(self, now: float) -> None:
        self._start = now
        self._samples = 0
        self._drops = 0
        self._peak = 0
        self._time = 0.0
        self._squares = 0.0
        self._dropped_time = 0.0

    def ignore(self, in_flight: int) -> None:
        """Take note that a call ends that tells nothing about the service."""
        if self._stale:
            self._stale -= 1
        elif in_flight > self._peak:
            self._peak = in_flight

    def measure(self, in_flight: int, now: float, latency: float, is_drop: bool) -> None:
        """Take note of a call that ends.

        Args:
            in_flight: How many calls run, with this one.
            now: The time.
            latency: How long the call has taken since it was admitted.
            is_drop: Whether it has failed in a way that tells of overload.
        """
        if self._stale:
            self._stale -= 1
            self._start = now
            return
        if in_flight > self._peak:
            self._peak = in_flight
        if is_drop:
            self._drops += 1
            self._dropped_time += latency
        else:
            self._samples += 1
            self._time += latency
            self._squares += latency * latency
        if self._samples + self._drops >= _SAMPLES and now - self._start >= _WINDOW:
            limit = self.value
            self.value = min(max(round(self._judge(now - self._start)), self._lowest), self._highest)
            if self.value != limit:
                self._stale = in_flight
            else:
                self._limit_before = 0.0
            self._open(now)

    def _judge(self, seconds: float) -> float:
        """Return the limit that follows from the window."""
        limit = self.value
        samples = self._samples
        drops = self._drops / (samples + self._drops)
        throughput = samples / seconds
        is_used = (self._time + self._dropped_time) / seconds >= 0.75 * limit
        latency = error = queued = 0.0
        if samples:
            latency = self._time / samples
            error = math.sqrt(max(0.0, self._squares / samples - latency * latency) / samples)
            if latency + error < 0.8 * self._base:
                self._is_base_proven = False
            self._base = min(self._base, latency + error)
            queued = throughput * (latency - error - self._base)
        self._base_drops = min(self._base_drops, drops)

        if self._limit_before:
            before, self._limit_before = self._limit_before, 0.0
            went_up = limit > before
            halfway = self._latency_before * (1 + limit / before) / 2
            self._held = 0
            if not is_used:
                return before
            if (latency > halfway) != went_up:
                self._base_drops = drops
                if latency - 2 * error > self._base:
                    self._base = latency
                    self._is_base_proven = False
                    self._patience = 1
                elif not went_up:
                    self._is_base_proven = True
                    self._patience = _PATIENCE
                return max(limit, before)
            if went_up:
                self._patience *= 2
                if self._patience > _MOST_PATIENCE:
                    self._patience = _PATIENCE
                    self._is_base_proven = False
                return before
            if limit <= 0.75 * before:
                self._patience = _PATIENCE

        few = max(3.0, limit / 10)
        if drops > self._base_drops + 0.1:
            trial = limit * (1 - drops / 2)
        elif queued > 2 * few:
            # Again in the next window? The service may just have changed, and the latency before must be of one piece.
            self._is_suspicious = not self._is_suspicious
            if self._is_suspicious:
                return limit
            trial = max(limit / 2, min(limit - 1, throughput * self._base + 1.5 * few))
        else:
            self._is_suspicious = False
            if 2 * self._peak < limit:
                return limit
            if queued <= few / 3:
                return limit + max(1.0, limit / 4)
            if queued < few:
                return limit + max(1.0, limit / 20)
            if not is_used:
                return limit
            self._held += 1
            if self._held < self._patience:
                return limit
            trial = max(limit / 3, 0.6 * throughput * self._base, self._lowest)
            if self._is_base_proven or trial >= limit:
                trial = 1.5 * limit
        if is_used:
            self._limit_before = limit
            self._latency_before = latency
        return trial


class AdaptiveCall(Call):
    """One call's way through a limiter with an `AdaptiveLimit`."""

    __slots__ = ("_began", "_loop", "_search")

    def admitted(self) -> None:
        """Count the call as admitted, and look at the clock."""
        super().admitted()
        limit = self.limiter._limit
        assert isinstance(limit, AdaptiveLimit)
        self._loop = loop = get_running_loop()
        self._search = limit.searches[loop]
        self._began = loop.time()

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        slots = self.slots
        assert slots is not None
        limit = self.limiter._limit
        assert isinstance(limit, AdaptiveLimit)
        if self.is_stream or not (exception is None or isinstance(exception, limit.drop_on)):
            self._search.ignore(slots.in_flight)
        else:
            now = self._loop.time()
            self._search.measure(slots.in_flight, now, now - self._began, exception is not None)
        self.give_back()
        slots.look()


class AdaptiveLimit(Limit):
    """A limit that finds itself: ``limit_jobs(limit=AdaptiveLimit())``.

    It looks for the lowest limit at which the service behind the function is never idle, from the latencies of the
    calls. It follows when the service gets slower or quicker, or gets more or fewer workers. There is no task and no
    timer: at the end of a call, at most once a second and after 20 calls at least, the limit may change.

    Calls that succeed are measured, from the moment when they were admitted. Those that fail by one of `drop_on` tell
    of overload. Other errors, cancelled calls and streams (async generators) tell nothing.

    One object serves one limiter, without `key`. Each event loop has a search of its own.

    Args:
        initial: The limit to begin with.
        min: The lowest limit, at least 1.
        max: The highest limit.
        drop_on: Types of exceptions that tell of overload. If a tenth of the calls fail so, the limit is cut.

    Raises:
        TypeError: A limit is not a number, or `drop_on` does not consist of types of exceptions.
        ValueError: Not ``1 <= min <= initial <= max``; or the object is used for a second limiter or with `key`.

    Example:
        >>> import asyncio
        >>> from dike_limit import AdaptiveLimit, limit_jobs
        >>> limiter = limit_jobs(limit=AdaptiveLimit(initial=5, max=200))
        >>> @limiter
        ... async def query(number):
        ...     await asyncio.sleep(0.001)
        ...     return number
        >>> async def main():
        ...     return await asyncio.gather(*(query(number) for number in range(5)))
        >>> asyncio.run(main())
        [0, 1, 2, 3, 4]
        >>> limiter.limit
        5

    The method is a descendant of TCP Vegas (Brakmo and Peterson, 1995) and of Netflix's concurrency-limits. Cuts and
    probes are trials, which show whether calls have queued; the code tells more.
    """

    call = AdaptiveCall

    def __init__(
        self,
        *,
        initial: float = 20,
        min: float = 1,  # noqa: A002
        max: float = 1000,  # noqa: A002
        drop_on: type[Exception] | tuple[type[Exception], ...] = (TimeoutError,),
    ) -> None:
        for name, value in (("initial", initial), ("min", min), ("max", max)):
            _options.number(name, value)
        _options.require(min >= 1, "min", ">= 1", min)
        _options.require(min <= initial < math.inf, "initial", f"finite and >= min={min!r}", initial)
        _options.require(initial <= max, "max", f">= initial={initial!r}", max)
        types: tuple[Any, ...] = drop_on if isinstance(drop_on, tuple) else (drop_on,)
        for kind in types:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise TypeError(f"drop_on must be types of exceptions, but got {drop_on!r}")
        self._initial = initial
        self._min = min
        self._max = max
        self._is_bound = False
        self.drop_on: tuple[type[Exception], ...] = types
        self.searches: PerLoop[Search] = PerLoop(self._new_search)

    def __repr__(self) -> str:
        """Tell how it was made."""
        return f"AdaptiveLimit(initial={self._initial}, min={self._min}, max={self._max}, drop_on={self.drop_on})"

    def bind(self, *, has_key: bool) -> None:
        """Refuse a second limiter, and one with a key."""
        if has_key:
            raise ValueError(f"{self!r} cannot be used with key: calls of all keys would be measured together")
        if self._is_bound:
            raise ValueError(f"{self!r} serves another limiter already: make one for each")
        self._is_bound = True

    def on_loop(self) -> Search:
        """Return the search of the running event loop."""
        return self.searches[get_running_loop()]

    def current(self) -> float:
        """Return the limit of the running event loop, or the sum of all if there is none."""
        try:
            return self.on_loop().value
        except RuntimeError:
            searches = list(self.searches.values())
            return sum(search.value for search in searches) if searches else self._initial

    def _new_search(self) -> Search:
        return Search(get_running_loop().time(), self._initial, self._min, self._max)
