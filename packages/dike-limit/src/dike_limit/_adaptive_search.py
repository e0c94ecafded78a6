"""The search of a limit that finds itself.

How many calls can a service work on at the same time before they only queue up in it? By Little's law that is its
throughput times the latency of a call that meets no queue, here the `base`. TCP Vegas [1] finds a congestion window in
this way, and Netflix's concurrency-limits [2] the limits of services. Of ``throughput * latency`` calls in flight,
``throughput * (latency - base)`` queue. A few of them are wanted, so that the service never idles; with fewer the limit
grows, with more it is cut. An estimate in queued calls does not drive the limit to its minimum when the service gets
slower, as a tolerated latency or a ratio of latencies does.

But it stands and falls with the base, and a latency does not tell a queue from slow work. The lowest latency ever seen
is wrong once the service gets slower, for then all its work looks like a queue. A base that drifts towards the latency
is wrong under a lasting overload, in which limit, queue and latency raise each other. So the base is measured in
*trials*: the limit is changed, and the next window shows whether the latency follows, as it does if calls queue, or
stays the same, as it does if they are worked on. In the latter case it is the base. BBR [3] tries its path likewise.

* A cut by a quarter or more is a trial. If the latency does not follow, the cut is taken back.
* While the limit is held, there are trials on purpose, ever more rarely. One below the estimate shows whether the base
  is too high: after a start under overload, say. Once it has passed, others that raise the limit show whether the base
  is too low; they cost a little latency instead of throughput.

Means of few calls are noisy, but how noisy they are is known: all estimates allow for one to two standard errors.

Exceptions may tell of overload too: drops. The limit is cut in proportion to their share, as by DCTCP [4], if it
exceeds the lowest share seen by a tenth of the calls. Such a cut is a trial as well: drops that have nothing to do with
the limit, such as those of a crawler that meets many dead hosts, are soon taken for normal.

[1] L. S. Brakmo, L. L. Peterson: TCP Vegas: End to end congestion avoidance on a global Internet. IEEE JSAC 13(8), 1995
[2] https://github.com/Netflix/concurrency-limits
[3] N. Cardwell et al.: BBR: Congestion-based congestion control. ACM Queue 14(5), 2016
[4] M. Alizadeh et al.: Data center TCP (DCTCP). SIGCOMM 2010
"""

import math

# A window closes after so many seconds and so many calls.
WINDOW = 1.0
SAMPLES = 20
# For how many windows the limit is held before the next trial: at first, and at most.
PATIENCE = 4
MOST_PATIENCE = 64
# More drops than these are never taken for normal.
MOST_DROPS = 0.5


class Window:
    """What is seen of the calls that end in a stretch of time.

    Args:
        start: When it begins.

    Attributes:
        start: When it begins.
        seconds: How long it was, once it is over.
        peak: The most calls that were in flight.
        samples: The number of calls that succeeded.
        drops: The number of those that failed in a way that tells of overload.
    """

    __slots__ = ("_squares", "_time", "_time_of_drops", "drops", "peak", "samples", "seconds", "start")

    def __init__(self, start: float) -> None:
        self.start = start
        self.seconds = 0.0
        self.peak = 0
        self.samples = 0
        self.drops = 0
        self._time = 0.0
        self._squares = 0.0
        self._time_of_drops = 0.0

    def add(self, latency: float, is_drop: bool) -> None:
        """Take note of a call."""
        if is_drop:
            self.drops += 1
            self._time_of_drops += latency
        else:
            self.samples += 1
            self._time += latency
            self._squares += latency * latency

    @property
    def throughput(self) -> float:
        """Calls that succeeded, per second."""
        return self.samples / self.seconds

    @property
    def latency(self) -> float:
        """Their mean latency."""
        return self._time / self.samples if self.samples else 0.0

    @property
    def error(self) -> float:
        """The standard error of that."""
        if not self.samples:
            return 0.0
        return math.sqrt(max(0.0, self._squares / self.samples - self.latency**2) / self.samples)

    @property
    def drop_share(self) -> float:
        """The share of drops among all calls."""
        return self.drops / (self.samples + self.drops)

    @property
    def in_flight(self) -> float:
        """How many calls were in flight, on average."""
        return (self._time + self._time_of_drops) / self.seconds


class Search:
    """The search of the limit on one event loop. It is told of each call that ends.

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
        "_held",
        "_highest",
        "_is_proven",
        "_is_suspicious",
        "_latency_before",
        "_limit_before",
        "_lowest",
        "_patience",
        "_rises",
        "_stale",
        "_trial",
        "_window",
        "value",
    )

    def __init__(self, now: float, initial: float, lowest: float, highest: float) -> None:
        self.value: float = initial
        self._lowest = lowest
        self._highest = highest
        # What the service does when calls do not queue, and whether a trial has shown that this is not too high.
        self._base = math.inf
        self._base_drops = 0.0
        self._is_proven = False
        # The trial of this window, and what was before it.
        self._trial = ""
        self._limit_before = 0.0
        self._latency_before = 0.0
        # Whether too many calls seemed to queue in the last window; for how many windows in a row the limit has been
        # raised; and for how many it has been held since the last trial.
        self._is_suspicious = False
        self._rises = 0
        self._held = 0
        self._patience = PATIENCE
        # So many calls are still to end that began under another limit.
        self._stale = 0
        self._window = Window(now)

    def ignore(self, in_flight: int) -> None:
        """Take note of the end of a call that tells nothing about the service."""
        if self._stale:
            self._stale -= 1
        elif in_flight > self._window.peak:
            self._window.peak = in_flight

    def measure(self, in_flight: int, now: float, latency: float, is_drop: bool) -> None:
        """Take note of the end of a call.

        Args:
            in_flight: How many calls have run, this one included.
            now: The time.
            latency: For how long this one has run.
            is_drop: Whether it has failed in a way that tells of overload.
        """
        if self._stale:
            self._stale -= 1
            self._window.start = now
            return
        window = self._window
        if in_flight > window.peak:
            window.peak = in_flight
        window.add(latency, is_drop)
        if window.samples + window.drops >= SAMPLES and now - window.start >= WINDOW:
            window.seconds = now - window.start
            limit = self.value
            self.value = self._within(self._judge(window))
            if self.value != limit:
                self._stale = in_flight
            self._window = Window(now)

    def _within(self, limit: float) -> float:
        return min(max(round(limit), self._lowest), self._highest)

    def _judge(self, seen: Window) -> float:
        """Return the limit that follows from the window."""
        base = self._base
        self._base_drops = min(self._base_drops, seen.drop_share)
        if not self._is_dropping(seen):
            self._base = min(base, seen.latency + 1.5 * seen.error)
            if self._base < 0.8 * base:
                self._is_proven = False
                self._patience = min(self._patience, PATIENCE)
        # A smaller cut shows nothing yet; perhaps there will be another.
        if self._trial and (self._trial != "cut" or self.value <= 0.75 * self._limit_before):
            limit = self._end_trial(seen, base)
            if limit is not None:
                return limit
        return self._go_on(seen)

    def _end_trial(self, seen: Window, base: float) -> float | None:
        """Learn from a trial, and return the limit, if it follows from that alone."""
        trial, self._trial = self._trial, ""
        limit, before = self.value, self._limit_before
        self._held = 0
        if not self._is_used(seen):
            # The load has changed meanwhile.
            return before
        if_queued = self._latency_before * limit / before
        halfway = (self._latency_before + if_queued) / 2
        # Calls that were in a queue together are alike, so it takes many of them to tell anything.
        error = max(seen.error, 0.5 * seen.latency / math.sqrt(seen.samples or 1))
        if trial == "up":
            is_work = seen.latency + 2 * error < halfway and not self._is_dropping(seen)
        else:
            is_work = seen.latency > halfway
        if is_work and seen.latency - 2 * error > self._base:
            self._base = seen.latency
            self._base_drops = min(seen.drop_share, MOST_DROPS)
            self._is_proven = False
            self._patience = 1
            return max(limit, before)
        if trial == "up":
            if is_work:
                return limit
            self._patience *= 2
            if self._patience > MOST_PATIENCE:
                self._patience = PATIENCE
                self._is_proven = False
            return before
        if trial == "cut" and is_work:
            self._base_drops = min(seen.drop_share, MOST_DROPS)
            return before
        # Either the latency before was that of the base and a queue, which is gone now, or the base is too high.
        if trial == "down" and seen.latency > (base + if_queued) / 2:
            self._is_proven = True
            self._patience = PATIENCE
            return before
        self._patience = PATIENCE if trial == "cut" else 1
        return None

    def _go_on(self, seen: Window) -> float:
        """Return the limit that follows from the estimate of queued calls, or of the next trial."""
        limit = self.value
        rises, self._rises = self._rises, 0
        if self._is_dropping(seen):
            return self._cut(limit * (1 - seen.drop_share / 2), seen)
        worked_on = seen.throughput * self._base
        queued = seen.throughput * (seen.latency - seen.error) - worked_on
        few = max(3.0, limit / 8)
        if queued > 2 * few:
            # Twice in a row, lest the cut is judged by a window in which the service has changed.
            self._is_suspicious = not self._is_suspicious
            if self._is_suspicious:
                self._held += 1
                return limit
            return self._cut(max(limit / 2, min(limit - 1, worked_on + 1.5 * few)), seen)
        self._is_suspicious = False
        self._trial = ""
        if 2 * seen.peak < limit:
            return limit
        if queued < few:
            # Quicker if hardly any seem to queue, or if that has not stopped it for a while.
            self._rises = rises + 1
            return limit + max(1.0, limit / (4 if queued <= few / 3 or rises >= 3 else 12))
        if self._is_used(seen):
            self._held += 1
            if self._held >= self._patience:
                below = max(limit / 2, 0.6 * worked_on)
                if self._is_proven or self._within(below) >= limit:
                    return self._begin_trial("up", 1.5 * limit, seen)
                return self._begin_trial("down", below, seen)
        return limit

    def _is_used(self, seen: Window) -> bool:
        return seen.in_flight >= 0.75 * self.value

    def _is_dropping(self, seen: Window) -> bool:
        share = seen.drop_share
        error = math.sqrt(share * (1 - share) / (seen.samples + seen.drops))
        return share - 2 * error > self._base_drops + 0.1

    def _cut(self, limit: float, seen: Window) -> float:
        return limit if self._trial else self._begin_trial("cut", limit, seen)

    def _begin_trial(self, trial: str, limit: float, seen: Window) -> float:
        # A limit that is not used could be changed as one likes without any effect.
        if self._is_used(seen) and self._within(limit) != self.value:
            self._trial = trial
            self._limit_before = self.value
            self._latency_before = seen.latency
        return limit
