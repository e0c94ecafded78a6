"""A line: how an event loop and the server tell each other which calls of one sorted set run.

All that a loop has to say about one sorted set (calls that leave, that still run, that ask to enter) goes in one
exchange, which is a run of the script. While one is under way, news gathers for the next. So an exchange serves one
call when there is little to do, and hundreds when there is much, over one connection; and calls stay in order.

What a loop knows outlives an exchange that fails: whoever asked still asks, and whoever left still leaves, until the
server has answered. So it does not matter who is cancelled when.

Those who wait ask again from time to time. If they took over at once what a call of their own loop gives back, then
loops that happen to have no slot would never get one. So they ask a little later, by a part of the time that the call
has taken, and one for each call: little is lost, and other loops have their chance, which is the greater the more of
their calls wait.
"""

import math
import os
from asyncio import Task, TimerHandle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._shared_leases import Lease, Leases

# After how many seconds one who waits asks again, give or take a half; of many, some ask each time, up to so many times
# as often.
POLL = 0.05
POLLS = 4
# After which part of the time that a call has run one who waits asks for its slot, give or take a half.
YIELD = 0.05


class Line:
    """One sorted set, as one event loop sees it: who asks to enter, in order of arrival; who runs; who leaves.

    Args:
        leases: All leases of the event loop.
        sorted_set: The key in Redis.
    """

    __slots__ = (
        "_asking",
        "_has_news",
        "_leases",
        "_leaving",
        "_oldest_ends",
        "_poll",
        "_renews",
        "_running",
        "_sorted_set",
        "_task",
        "_tickets",
    )

    def __init__(self, leases: "Leases", sorted_set: bytes) -> None:
        self._leases = leases
        self._sorted_set = sorted_set
        self._asking: dict[Lease, None] = {}
        # Since when they run.
        self._running: dict[Lease, float] = {}
        # Until when it matters that they leave: then their leases have ended anyway.
        self._leaving: dict[Lease, float] = {}
        # When the oldest of all leases ends, on this loop's clock, if the server has told.
        self._oldest_ends: float | None = None
        # How many of those who wait may ask again next time.
        self._tickets = 0
        self._renews = False
        self._has_news = False
        self._task: Task[None] | None = None
        self._poll: TimerHandle | None = None

    def ask(self, lease: "Lease") -> None:
        """Join those who ask to enter."""
        self._leases.start_renewing()
        self._asking[lease] = None
        if self._leases.server.is_silent():
            self.decide(lease)
        elif self._is_full(lease, len(self._running)) or self._is_behind(lease):
            self._refuse(lease)
        else:
            self._wake()

    def leave(self, lease: "Lease") -> None:
        """Join those who leave, if the server may know the call."""
        loop = self._leases.loop
        self._asking.pop(lease, None)
        since = self._running.pop(lease, None)
        lease.answer = loop.create_future()
        if lease.sent:
            self._leaving[lease] = loop.time() + self._leases.lease
        else:
            lease.answer.set_result(True)
        if self._leases.server.is_silent():
            self.go_on_alone()
        elif self._leaving:
            self._wake()
        if self._asking and since is not None and loop.is_running():
            loop.call_later(_about((loop.time() - since) * YIELD), self._let_ask, 1)
        self._drop_if_idle()

    def renew(self) -> None:
        """Let the leases of all that run begin anew, and tell again who has left."""
        now = self._leases.loop.time()
        self._leaving = {lease: until for lease, until in self._leaving.items() if until > now}
        self._renews = True
        self._let_ask(len(self._asking))
        self._wake()

    def go_on_alone(self) -> None:
        """Do without the server, which does not answer."""
        for lease in list(self._asking):
            self.decide(lease)
        for lease in self._leaving:
            if not lease.answer.done():
                lease.answer.set_result(True)

    def decide(self, lease: "Lease") -> None:
        """Answer a call without the server."""
        self._oldest_ends = None
        if self._leases.mode == "closed":
            lease.patient = False
            self._refuse(lease)
        elif self._is_full(lease, len(self._running)):
            self._refuse(lease)
        else:
            self._admit(lease)

    def _is_full(self, lease: "Lease", running: int) -> bool:
        # What runs on this loop is known without asking, and may be more than the server knows.
        return running + 1 > lease.capacity and self._leases.mode != "open"

    def _is_behind(self, lease: "Lease") -> bool:
        # It may pass those who wait only if their share keeps them out.
        return any(other.refused and other.capacity >= lease.capacity for other in self._asking)

    def _admit(self, lease: "Lease") -> None:
        del self._asking[lease]
        self._running[lease] = self._leases.loop.time()
        if not lease.answer.done():
            lease.answer.set_result(True)

    def _refuse(self, lease: "Lease") -> None:
        oldest_ends = self._oldest_ends
        lease.retry_after = None if oldest_ends is None else max(0.0, oldest_ends - self._leases.loop.time())
        answer = lease.answer
        if not lease.patient:
            del self._asking[lease]
        elif lease.refused:
            return
        else:
            lease.refused = True
            lease.answer = self._leases.loop.create_future()
            self._poll_soon()
        if not answer.done():
            answer.set_result(False)

    def _wake(self) -> None:
        self._has_news = True
        # A call that is closed while the loop stands still is told about when it runs again.
        if self._task is None and self._leases.loop.is_running():
            self._task = self._leases.loop.create_task(self._exchange_news())
            self._task.add_done_callback(self._ended)

    def _let_ask(self, calls: int) -> None:
        if self._asking:
            self._tickets += calls
            self._wake()

    def _poll_soon(self) -> None:
        if self._poll is None and self._asking:
            # As if each asked on its own, but some at a time if they are many.
            share = max(1 / len(self._asking), 1 / POLLS)
            calls = math.ceil(len(self._asking) * share)
            self._poll = self._leases.loop.call_later(_about(POLL * share), self._ask_again, calls)

    def _ask_again(self, calls: int) -> None:
        self._poll = None
        self._poll_soon()
        self._let_ask(calls)

    def _stop_polling(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    async def _exchange_news(self) -> None:
        while self._has_news:
            self._has_news = False
            async with self._leases.server.connections:
                await self._exchange()

    async def _exchange(self) -> None:
        leases = self._leases
        if leases.server.is_silent():
            self.go_on_alone()
            return
        leaving = list(self._leaving)
        staying = list(self._running) if self._renews else []
        self._renews = False
        waiting = self._take_turns()
        asking: list[Lease] = []
        for lease in waiting:
            if not self._is_full(lease, len(self._running) + len(asking)):
                asking.append(lease)
        if not (leaving or staying or asking):
            for lease in waiting:
                self._refuse(lease)
            return
        arguments: list[Any] = [max(1, round(leases.lease * 1000)), len(leaving), len(staying)]
        arguments += [lease.id for lease in leaving]
        arguments += [lease.id for lease in staying]
        for lease in asking:
            arguments += [lease.id, lease.capacity]
        for lease in (*staying, *asking):
            lease.sent = True
        answer = await leases.server.exchange(self._sorted_set, arguments)
        if answer is None:
            for lease in leaving:
                # If it is not there next time, this try may have reached the server.
                lease.granted = False
            self.go_on_alone()
            return
        lost, entered, oldest_ends = answer
        if staying or asking:
            self._oldest_ends = leases.loop.time() + oldest_ends / 1000 if oldest_ends >= 0 else None
        for lease in leaving:
            self._leaving.pop(lease, None)
            if not lease.answer.done():
                lease.answer.set_result(True)
        # Calls that were admitted without the server had no lease to lose.
        known = [*leaving, *staying]
        lost_here = sum(known[i - 1].granted for i in lost)
        if lost_here:
            leases.on_lost(lost_here)
        for lease in staying:
            lease.granted = True
        answers = dict(zip(asking, entered, strict=True))
        for lease in waiting:
            lease.granted = bool(answers.get(lease))
            if lease in self._asking:
                if lease.granted:
                    self._admit(lease)
                else:
                    lease.sent = False
                    self._refuse(lease)

    def _take_turns(self) -> "list[Lease]":
        """Return those who ask for the first time, and of the others as many as may ask, of each share the first."""
        turns: list[Lease] = []
        left: dict[int, int] = {}
        for lease in self._asking:
            if lease.refused:
                left[lease.capacity] = left.get(lease.capacity, self._tickets) - 1
                if left[lease.capacity] < 0:
                    continue
            turns.append(lease)
        self._tickets = 0
        return turns

    def _ended(self, task: Task[None]) -> None:
        self._task = None
        if task.cancelled():
            # By an event loop that shuts down. Calls that it has cancelled too wait for the server to know.
            self._has_news = bool(self._asking) or any(not lease.answer.done() for lease in self._leaving)
        if self._has_news:
            self._wake()
        self._drop_if_idle()

    def _drop_if_idle(self) -> None:
        if not (self._asking or self._running or self._leaving or self._task):
            self._stop_polling()
            self._leases.drop(self._sorted_set)


def _about(seconds: float) -> float:
    """Return a random time, from half of `seconds` to one and a half."""
    # To import `random` would take longer than to import all the rest.
    return seconds * (0.5 + os.urandom(1)[0] / 255)
