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

from __future__ import annotations

import math
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections import deque
from collections.abc import Hashable
from typing import Protocol

# So that 100 * 0.29, which is 28.999999999999996 in floats, means 29.
TOLERANCE = 1e-9

# The most slots there are, with an infinite limit too: so many floats can count one by one.
_MANY = 1 << 52


class LimitOfTheMoment(Protocol):
    """Whatever tells how many calls may run now."""

    @property
    def value(self) -> float:
        """The limit: a number >= 0, infinity included."""
        ...


# Number of arrival, future, share, deadline on the loop's clock. Who leaves early leaves this behind, with the future
# done, until it comes to the head of the lane, or more have left so than still wait.
_Waiter = tuple[int, Future[bool], float, float]
_Lane = deque[_Waiter]


class Slots:
    """The slots and the queue of one key on one event loop.

    Two counters are made for the path of a call with the full share that finds a free slot: it compares them, and adds
    1 to `admitted` now and to `admissible` when it ends. They are floats: Python adds and compares those more quickly
    than whole numbers.

    Args:
        loop: The event loop.
        limit: Tells the limit of the moment.
        max_waiting_time: How long a call may wait, in seconds.
        max_waiting_calls: How many calls may wait; `None` for as many as the limit, rounded up.
        key: The key.

    Attributes:
        admitted: How many calls have been admitted so far, as far as they are counted here.
        admissible: `admitted` and as many more as there are free slots; less than `admitted` after the limit has sunk.
        ceiling: How many slots there are.
        waiting: How many calls wait.
        room: How many calls may wait.
        key: The key.
    """

    __slots__ = (
        "_arrivals",
        "_departures",
        "_lanes",
        "_limit",
        "_limit_seen",
        "_loop",
        "_max_waiting_calls",
        "_max_waiting_time",
        "_share",
        "_timer",
        "admissible",
        "admitted",
        "ceiling",
        "key",
        "room",
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
        self.admitted: float = 0.0
        self.admissible: float = 0.0
        self.waiting: int = 0
        self.room: int = 0
        self.key: Hashable = key
        self._loop = loop
        self._limit = limit
        self._limit_seen: float = 0  # All that depends on the limit belongs to this one.
        self.ceiling: float = 0.0
        self._max_waiting_time = max_waiting_time
        self._max_waiting_calls = max_waiting_calls
        self._arrivals = 0
        self._lanes: dict[float, _Lane] = {}
        self._share: float | None = None  # That of all who wait; None if they differ.
        self._departures = 0  # Since the corpses were last removed.
        self._timer: TimerHandle | None = None
        self.look()

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return int(self.ceiling + self.admitted - self.admissible)

    def look(self) -> None:
        """If the limit has changed, hand over what slots there are to those who wait, in order of arrival."""
        limit = self._limit.value
        if limit == self._limit_seen:
            return
        self._limit_seen = limit
        ceiling = float(self._bound(1.0))
        self.admissible += ceiling - self.ceiling
        self.ceiling = ceiling
        if not self._max_waiting_time or not ceiling:
            self.room = 0
        elif self._max_waiting_calls is None:
            self.room = math.ceil(min(limit - TOLERANCE, _MANY))
        else:
            self.room = math.floor(min(self._max_waiting_calls + TOLERANCE, _MANY))
        if self._lanes:
            self._sort_again()

    def take(self) -> None:
        """Take a slot, whether or not there is one."""
        self.admissible -= 1.0

    def count_admitted(self) -> None:
        """Count as admitted a call that has taken a slot."""
        self.admitted += 1.0
        self.admissible += 1.0

    def try_take(self, share: float) -> bool:
        """Take a slot, if there is one within this share of the limit."""
        if self._limit_seen != self._limit.value:
            self.look()
        if self.ceiling + self.admitted - self.admissible + 1.0 > self._limit_seen * share + TOLERANCE:
            return False
        self.admissible -= 1.0
        return True

    def has_room(self) -> bool:
        """Whether a call for which `try_take` has failed may wait."""
        return self.waiting < self.room

    def join(self, share: float) -> Future[bool]:
        """Queue up, right after `try_take` has failed.

        Returns:
            A future that tells whether a slot has been handed over in time. Whoever awaits it in vain calls `depart`.
        """
        loop = self._loop
        future: Future[bool] = loop.create_future()
        deadline = loop.time() + self._max_waiting_time
        self._arrivals = arrival = self._arrivals + 1
        self.waiting += 1
        self._stand((arrival, future, share, deadline), share)
        if self._timer is None:
            self._set_timer(deadline)
        return future

    def depart(self, future: Future[bool]) -> None:
        """Leave the queue, or give back a slot that was handed over meanwhile."""
        if future.done() and not future.cancelled():
            if future.result():
                self.leave()
            return
        if not self._loop.is_closed():
            future.cancel()
        self.waiting -= 1
        self._departures += 1
        if not self.waiting:
            self._close_lanes()
        elif self._departures > self.waiting:
            self._departures = 0
            alive = {
                bound: deque(waiter for waiter in lane if not waiter[1].done()) for bound, lane in self._lanes.items()
            }
            self._lanes = {bound: lane for bound, lane in alive.items() if lane}

    def leave(self) -> None:
        """Give a slot back."""
        self.admissible += 1.0
        if self.waiting:
            self.hand_over()

    def hand_over(self) -> None:
        """Hand a slot that has just been given back to the first waiter whose share admits it."""
        if self._limit_seen != self._limit.value:
            self.look()
            return
        lane = self._lanes.get(self.ceiling + self.admitted - self.admissible + 1.0)
        while lane:
            _, future, _, _ = lane.popleft()
            if not future.done():
                self._wake(future)
                return

    def _fits(self, share: float) -> bool:
        return self.in_flight + 1 <= self._limit_seen * share + TOLERANCE

    def _bound(self, share: float) -> int:
        return math.floor(min(self._limit_seen * share + TOLERANCE, _MANY))

    def _stand(self, waiter: _Waiter, share: float) -> None:
        bound = self.ceiling if share == 1.0 else self._bound(share)
        lane = self._lanes.get(bound)
        if lane is None:
            self._share = None if self._lanes else share
            lane = self._lanes[bound] = deque()
        elif share != self._share:
            self._share = None
        lane.append(waiter)

    def _wake(self, future: Future[bool]) -> None:
        self.admissible -= 1.0
        self.waiting -= 1
        if not self.waiting:
            self._close_lanes()
        try:  # noqa: SIM105 (much faster)
            future.set_result(True)
        except RuntimeError:
            # Its event loop is closed, so nobody is left to wake. The slot comes back when the waiter is collected.
            pass

    def _close_lanes(self) -> None:
        self._lanes.clear()
        self._departures = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sort_again(self) -> None:
        lanes = list(self._lanes.values())
        self._lanes.clear()
        if self._share is not None:
            # All alike, as when the share is the same for all calls: no need to walk to the end of the queue.
            (lane,) = lanes
            while lane and self._fits(self._share):
                _, future, _, _ = lane.popleft()
                if not future.done():
                    self._wake(future)
            if self.waiting:
                self._lanes[self._bound(self._share)] = lane
            return
        # Whoever is passed over is so for good, since every slot handed over leaves fewer. So one walk is enough.
        for waiter in sorted(waiter for lane in lanes for waiter in lane):
            _, future, share, _ = waiter
            if future.done():
                continue
            if self._fits(share):
                self._wake(future)
            else:
                self._stand(waiter, share)

    def _set_timer(self, deadline: float) -> None:
        if deadline < math.inf:
            self._timer = self._loop.call_at(deadline, self._expire, deadline)

    def _expire(self, deadline: float) -> None:
        self._timer = None
        self.look()
        # A timer may come early, by the resolution of the clock.
        now = max(self._loop.time(), deadline)
        next_deadline = math.inf
        for lane in self._lanes.values():
            while lane:
                _, future, _, due = lane[0]
                if due > now and not future.done():
                    next_deadline = min(next_deadline, due)
                    break
                lane.popleft()
                if not future.done():
                    self.waiting -= 1
                    future.set_result(False)
        if self.waiting:
            self._set_timer(next_deadline)
        else:
            self._close_lanes()
