"""The slots and the queue of one key on one event loop.

A call takes a slot when ``in_flight + 1 <= limit * share``; else it may wait. Those who wait stand in lanes, one for
each *bound*: the largest whole number in ``limit * share``, up to which the waiters of that lane may fill the slots.
Nobody waits who could run, so every bound is at most `in_flight`, and it follows:

* a newcomer that fits in passes only waiters whose share keeps them out;
* a freed slot can suit only the lane whose bound is now ``in_flight + 1``, and there the first in line has waited
  longest. Handing over takes the same time whatever the number of waiters and of shares.

A slot is handed over, not put back: it counts as taken from the moment at which its new owner is woken, so that no
newcomer can steal it. Only a change of the limit asks for a walk along the queue, if the shares differ.

All waiters have the same time to wait, so they also run out of it in order of arrival, and one timer serves them all.
"""

import math
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from typing import Protocol

# So that 100 * 0.29, which is 28.999999999999996 in floats, means 29.
TOLERANCE = 1e-9

# As many slots as an infinite limit has.
_INFINITELY_MANY = 1 << 62


class LimitOfTheMoment(Protocol):
    """Whatever tells how many calls may run now."""

    @property
    def value(self) -> float:
        """The limit: a number >= 0, infinity included."""


# What is known of a waiter: its future, its share, its deadline on the loop's clock.
_Waiter = tuple[Future[bool], float, float]
# By number of arrival. Not a plain dict: to find the first in one that is emptied from the front gets slow.
_Lane = OrderedDict[int, _Waiter]


class Slots:
    """The slots and the queue of one key on one event loop.

    Two counters are made for the path of a call with the full share that finds a free slot: it compares them, and adds
    1 to `admitted` now and to `admissible` when it ends.

    Args:
        loop: The event loop.
        limit: Tells the limit of the moment.
        max_waiting_time: How long a call may wait, in seconds.
        max_waiting_calls: How many calls may wait; `None` for as many as the limit, rounded up.
        key: The key.

    Attributes:
        admitted: How many calls have been admitted so far, as far as they are counted here.
        admissible: `admitted` and as many more as there are free slots; less than `admitted` after the limit has sunk.
        waiting: How many calls wait.
        max_waiting_time: How long a call may wait, in seconds.
        key: The key.
    """

    __slots__ = (
        "_arrivals",
        "_ceiling",
        "_lanes",
        "_limit",
        "_limit_seen",
        "_loop",
        "_max_waiting_calls",
        "_share",
        "_timer",
        "admissible",
        "admitted",
        "key",
        "max_waiting_time",
        "waiting",
    )

    def __init__(
        self,
        loop: AbstractEventLoop,
        limit: LimitOfTheMoment,
        max_waiting_time: float = 0.0,
        max_waiting_calls: float | None = None,
        key: Hashable = None,
    ) -> None:
        self.admitted = 0
        self.admissible = 0
        self.waiting = 0
        self.max_waiting_time = max_waiting_time
        self.key = key
        self._loop = loop
        self._limit = limit
        self._max_waiting_calls = max_waiting_calls
        self._arrivals = 0
        self._lanes: dict[int, _Lane] = {}
        self._share: float | None = None  # That of all who wait; None if they differ.
        self._timer: TimerHandle | None = None
        self._ceiling = 0  # How many slots there are.
        self._limit_seen = 0.0  # That by which they are counted, and the lanes sorted.
        self.look()

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return self._ceiling + self.admitted - self.admissible

    def look(self) -> None:
        """If the limit has changed, hand over what slots there are to those who wait, in order of arrival."""
        limit = self._limit.value
        if limit == self._limit_seen:
            return
        self._limit_seen = limit
        ceiling = math.floor(limit + TOLERANCE) if limit < _INFINITELY_MANY else _INFINITELY_MANY
        self.admissible += ceiling - self._ceiling
        self._ceiling = ceiling
        if not self._lanes:
            return
        lanes = self._lanes
        self._lanes = {}
        if self._share is not None:
            # One lane, which stays together.
            for lane in lanes.values():
                while lane and self._fits(self._share):
                    _, (future, _, _) = lane.popitem(last=False)
                    self.waiting -= 1
                    self._wake(future)
                if lane:
                    self._lanes[self._bound(self._share)] = lane
        else:
            # Whoever is passed over is so for good, since every slot handed over leaves fewer. So one walk is enough.
            for arrival, waiter in sorted(item for lane in lanes.values() for item in lane.items()):
                future, share, _ = waiter
                if self._fits(share):
                    self.waiting -= 1
                    self._wake(future)
                else:
                    self._join(arrival, waiter)
        if not self._lanes:
            self._stop_timer()

    def take(self) -> None:
        """Take a slot, whether or not there is one."""
        self.admissible -= 1

    def try_take(self, share: float) -> bool:
        """Take a slot, if there is one within this share of the limit."""
        self.look()
        if self._fits(share):
            self.admissible -= 1
            return True
        return False

    def has_room(self) -> bool:
        """Whether a call for which `try_take` has failed may wait."""
        limit = self._limit.value
        if not self.max_waiting_time or limit + TOLERANCE < 1:
            return False
        room = self._max_waiting_calls
        return self.waiting < (math.ceil(limit - TOLERANCE) if room is None else room - TOLERANCE)

    async def wait(self, share: float) -> bool:
        """Wait, right after `try_take` has failed; return whether a slot has been handed over in time."""
        future: Future[bool] = self._loop.create_future()
        deadline = self._loop.time() + self.max_waiting_time
        self._arrivals = arrival = self._arrivals + 1
        self._join(arrival, (future, share, deadline))
        self.waiting += 1
        if self._timer is None:
            self._set_timer(deadline)
        try:
            return await future
        except BaseException:
            # Cancelled, or closed unfinished.
            if future.done() and not future.cancelled():
                if future.result():
                    self.leave()
            else:
                self._depart(arrival, share)
            raise

    def leave(self) -> None:
        """Give a slot back."""
        self.admissible += 1
        if self.waiting:
            self.hand_over()

    def hand_over(self) -> None:
        """Hand a slot that has just been given back to the first waiter whose share admits it."""
        if self._limit_seen != self._limit.value:
            self.look()
            return
        bound = self._ceiling + self.admitted - self.admissible + 1
        lane = self._lanes.get(bound)
        while lane:
            _, (future, _, _) = lane.popitem(last=False)
            self.waiting -= 1
            if not lane:
                self._drop_lane(bound)
            if self._wake(future):
                return

    def _fits(self, share: float) -> bool:
        return self.in_flight + 1 <= self._limit_seen * share + TOLERANCE

    def _bound(self, share: float) -> int:
        return math.floor(self._limit_seen * share + TOLERANCE)

    def _join(self, arrival: int, waiter: _Waiter) -> None:
        _, share, _ = waiter
        if not self._lanes:
            self._share = share
        elif share != self._share:
            self._share = None
        bound = self._bound(share)
        lane = self._lanes.get(bound)
        if lane is None:
            lane = self._lanes[bound] = OrderedDict()
        lane[arrival] = waiter

    def _depart(self, arrival: int, share: float) -> None:
        bound = self._bound(share)
        lane = self._lanes.get(bound)
        if lane is not None and lane.pop(arrival, None) is not None:
            self.waiting -= 1
            if not lane:
                self._drop_lane(bound)

    def _drop_lane(self, bound: int) -> None:
        del self._lanes[bound]
        if not self._lanes:
            self._stop_timer()

    def _wake(self, future: Future[bool]) -> bool:
        if future.done():
            # Cancelled, and its task will learn of it in a moment.
            return False
        self.admissible -= 1
        # If the event loop is closed, nobody is left to wake: the slot comes back when the waiter is collected.
        with suppress(RuntimeError):
            future.set_result(True)
        return True

    def _set_timer(self, deadline: float) -> None:
        if deadline < math.inf:
            self._timer = self._loop.call_at(deadline, self._expire, deadline)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, deadline: float) -> None:
        self.look()
        # A timer may come early, by the resolution of the clock.
        now = max(self._loop.time(), deadline)
        for bound, lane in list(self._lanes.items()):
            while lane:
                arrival, (future, _, due) = next(iter(lane.items()))
                if due > now:
                    break
                del lane[arrival]
                self.waiting -= 1
                if not future.done():
                    future.set_result(False)
            if not lane:
                self._drop_lane(bound)
        if self._lanes:
            self._set_timer(min(next(iter(lane.values()))[2] for lane in self._lanes.values()))
