"""The slots and the queue of one key on one event loop.

A call takes a slot when ``in_flight + 1 <= limit * share``; else it may wait. Those who wait stand in lanes, one for
each *bound*: the largest whole number in ``limit * share``, up to which the waiters of that lane may fill the slots.
Nobody waits who could run, so every bound is at most `in_flight`, and it follows:

* a newcomer that fits in passes only waiters whose share keeps them out;
* a freed slot can suit only the lane whose bound is now ``in_flight + 1``, and there the first in line has waited
  longest. Handing over takes the same time whatever the number of waiters and of shares.

A slot is handed over, not put back: it counts as taken from the moment at which its new owner is woken, so that no
newcomer can steal it. Only a change of the limit makes a walk along the whole queue necessary.

All waiters have the same time to wait, so they also run out of it in order of arrival, and one timer serves them all.
"""

import math
from asyncio import AbstractEventLoop, Future, TimerHandle, get_running_loop
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from typing import Protocol

# So that 100 * 0.29, which is 28.999999999999996 in floats, means 29.
TOLERANCE = 1e-9


class LimitOfTheMoment(Protocol):
    """Whatever tells how many calls may run now."""

    value: float


class _Waiter:
    __slots__ = ("arrival", "deadline", "future", "lane", "share")

    def __init__(self, future: Future[bool], arrival: int, share: float, deadline: float) -> None:
        self.future = future
        self.arrival = arrival
        self.share = share
        self.deadline = deadline
        self.lane: _Lane | None = None


class _Lane(OrderedDict[_Waiter, None]):
    # Not a plain dict: that gets slow when it is emptied from the front, and a list or deque when from the middle.
    __slots__ = ("bound", "share")

    bound: int
    share: float | None  # None if the waiters' shares differ.


class Slots:
    """The slots and the queue of one key on one event loop.

    Attributes:
        in_flight: How many slots are taken.
        waiting: How many calls wait for one.
        limit: Tells the limit of the moment in its `value`.
        key: The key.
    """

    __slots__ = ("_arrivals", "_lanes", "_seen", "_timer", "in_flight", "key", "limit", "waiting")

    def __init__(self, limit: LimitOfTheMoment, key: Hashable = None) -> None:
        self.in_flight = 0
        self.waiting = 0
        self.limit = limit
        self.key = key
        self._seen = limit.value
        self._lanes: dict[int, _Lane] = {}
        self._arrivals = 0
        self._timer: TimerHandle | None = None

    def try_enter(self, share: float = 1.0) -> bool:
        """Take a slot if `share` of the limit leaves one."""
        if self._lanes and self._seen != self.limit.value:
            self.look_again()
        if self.in_flight + 1 <= self.limit.value * share + TOLERANCE:
            self.in_flight += 1
            return True
        return False

    def leave(self) -> None:
        """Give a slot back: it goes to the first waiter whose share admits it."""
        self.in_flight -= 1
        if not self._lanes:
            return
        if self._seen != self.limit.value:
            self.look_again()
            return
        lane = self._lanes.get(self.in_flight + 1)
        while lane:
            waiter = next(iter(lane))
            self._remove(waiter)
            if self._hand_over(waiter):
                return

    async def wait(self, share: float, max_waiting_time: float) -> bool:
        """Wait for a slot after `try_enter` has failed.

        Returns:
            Whether a slot has been handed over within `max_waiting_time` seconds, which must be the same for all calls.
        """
        loop = get_running_loop()
        self._seen = self.limit.value
        self._arrivals += 1
        waiter = _Waiter(loop.create_future(), self._arrivals, share, loop.time() + max_waiting_time)
        self._join(waiter)
        self.waiting += 1
        if self._timer is None:
            self._set_timer(loop, waiter.deadline)
        try:
            return await waiter.future
        except BaseException:
            # Cancelled, or closed with its event loop.
            if waiter.lane is not None:
                self._remove(waiter)
            elif not waiter.future.cancelled() and waiter.future.result():
                self.leave()
            raise

    def look_again(self) -> None:
        """Reconsider all who wait, in order of arrival, since the limit has changed."""
        self._seen = self.limit.value
        lanes = list(self._lanes.values())
        if len(lanes) == 1 and (share := lanes[0].share):
            # All alike, as when the share is the same for all calls: no need to walk to the end of the queue.
            (lane,) = lanes
            while lane and self.in_flight + 1 <= self._seen * share + TOLERANCE:
                waiter = next(iter(lane))
                self._remove(waiter)
                self._hand_over(waiter)
            if lane:
                del self._lanes[lane.bound]
                lane.bound = math.floor(self._seen * share + TOLERANCE)
                self._lanes[lane.bound] = lane
            return
        # Whoever is passed over stays so, since with each slot handed over it gets harder: one walk is enough.
        for waiter in sorted((waiter for lane in lanes for waiter in lane), key=lambda waiter: waiter.arrival):
            if self.in_flight + 1 <= self._seen * waiter.share + TOLERANCE:
                self._remove(waiter)
                self._hand_over(waiter)
        waiters = sorted((waiter for lane in lanes for waiter in lane), key=lambda waiter: waiter.arrival)
        self._lanes = {}
        for waiter in waiters:
            self._join(waiter)

    def _join(self, waiter: _Waiter) -> None:
        bound = math.floor(self._seen * waiter.share + TOLERANCE)
        lane = self._lanes.get(bound)
        if lane is None:
            lane = self._lanes[bound] = _Lane()
            lane.bound = bound
            lane.share = waiter.share
        elif lane.share != waiter.share:
            lane.share = None
        lane[waiter] = None
        waiter.lane = lane

    def _remove(self, waiter: _Waiter) -> None:
        lane = waiter.lane
        assert lane is not None
        del lane[waiter]
        waiter.lane = None
        self.waiting -= 1
        if not lane:
            del self._lanes[lane.bound]
            if not self._lanes and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _hand_over(self, waiter: _Waiter) -> bool:
        if waiter.future.done():
            # Cancelled, only its task does not know yet.
            return False
        self.in_flight += 1
        # If its event loop is closed, it leaves when it is collected.
        with suppress(RuntimeError):
            waiter.future.set_result(True)
        return True

    def _set_timer(self, loop: AbstractEventLoop, deadline: float) -> None:
        if deadline < math.inf:
            self._timer = loop.call_at(deadline, self._time_is_up)

    def _time_is_up(self) -> None:
        loop = get_running_loop()
        assert self._timer is not None
        # A timer may come early by as much as the clock's resolution.
        now = max(self._timer.when(), loop.time())
        if self._seen != self.limit.value:
            self.look_again()
        for lane in list(self._lanes.values()):
            while lane:
                waiter = next(iter(lane))
                if waiter.deadline > now:
                    break
                self._remove(waiter)
                if not waiter.future.done():
                    waiter.future.set_result(False)
        if self._lanes:
            self._set_timer(loop, min(next(iter(lane)).deadline for lane in self._lanes.values()))
