"""The leases of one event loop: how a loop and the server tell each other which calls run.

All that a loop has to say about one sorted set (calls that leave, that still run, that ask to enter) goes in one
exchange, which is a run of the script. While one is under way, news gathers for the next. So an exchange serves one
call when there is little to do, and hundreds when there is much, over one connection; and calls stay in order.

What a loop knows outlives an exchange that fails: whoever asked still asks, and whoever left still leaves, until the
server has answered. So it does not matter who is cancelled when.
"""

import asyncio
import logging
import math
import os
from asyncio import Future, Task, TimerHandle, get_running_loop
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Literal

from ._slots import TOLERANCE

logger = logging.getLogger("dike")

# How long one try to reach the server may take, and how long nobody tries after one that failed, in seconds.
TRY = 0.25
PAUSE = 1.0
# After how many seconds, give or take a half, whoever waits looks again.
POLL = 0.05
# How many sorted sets may have an exchange at the same time: each takes a connection of the client.
CONNECTIONS = 16
# For how many turns a loop that may have stood still reads what has come meanwhile, before it says that nothing has.
TURNS = 10
# As good as infinity, and a whole number in Lua, whose numbers are floats.
MANY = 2**53

Mode = Literal["local", "open", "closed"]
Answer = tuple[list[int], list[int], int]
Exchange = Callable[[bytes, list[Any]], Coroutine[Any, Any, Answer]]


class Link:
    """What an event loop has to do with the server: its lines, and whether the server answers.

    Args:
        name: The limit's name, for the log.
        value: The limit.
        lease: How long a lease is, in seconds.
        mode: What happens while the server does not answer.
        exchange: Runs the script.
        on_lost: Told how many leases have been lost.
    """

    def __init__(
        self, name: str, value: float, lease: float, mode: Mode, exchange: Exchange, on_lost: Callable[[int], None]
    ) -> None:
        self.loop = get_running_loop()
        self.value = value
        self.lease = lease
        self.mode: Mode = mode
        self.on_lost = on_lost
        self.lines: dict[bytes, Line] = {}
        self.connections = asyncio.Semaphore(CONNECTIONS)
        self._name = name
        self._exchange = exchange
        self._abandoned: set[Task[Answer]] = set()
        self._names = map(f"{os.urandom(12).hex()}:%d".__mod__, count())
        self._timer: TimerHandle | None = None
        self._is_silent = False
        self._silent_until = 0.0

    def new_lease(self, sorted_set: bytes, share: float, patient: bool) -> "Lease":
        """Return the place of a call that has not asked yet."""
        capacity = math.floor(min(self.value * share + TOLERANCE, MANY))
        return Lease(self, sorted_set, next(self._names), capacity, patient)

    def line(self, sorted_set: bytes) -> "Line":
        """Return the line of a sorted set, made if nothing goes on there."""
        line = self.lines.get(sorted_set)
        if line is None:
            line = self.lines[sorted_set] = Line(self, sorted_set)
            if self._timer is None:
                self._schedule()
        return line

    def drop(self, sorted_set: bytes) -> None:
        """Forget a line on which nothing goes on."""
        del self.lines[sorted_set]
        if not self.lines and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def is_silent(self) -> bool:
        """Whether it is not yet time to try again after the server has not answered."""
        return self._is_silent and self.loop.time() < self._silent_until

    async def exchange(self, sorted_set: bytes, arguments: list[Any]) -> Answer | None:
        """Run the script, and return its answer, or `None` if none came in time."""
        # One tries, however many lines come meanwhile.
        self._silent_until = self.loop.time() + PAUSE
        # A task of its own can be left behind, however long the client takes to see that it is cancelled.
        trial = self.loop.create_task(self._exchange(sorted_set, arguments))
        try:
            await asyncio.wait({trial}, timeout=TRY)
            for _ in range(TURNS):
                if not trial.done():
                    await asyncio.sleep(0)
        finally:
            if not trial.done():
                trial.cancel()
                self._abandoned.add(trial)
                trial.add_done_callback(self._forget)
        try:
            answer = trial.result()
        except asyncio.InvalidStateError:
            self._fell_silent(f"no answer within {TRY} s")
        except Exception as exception:
            self._fell_silent(f"{type(exception).__name__}: {exception}")
        else:
            if self._is_silent:
                self._answers_again()
            return answer
        return None

    def _forget(self, trial: Task[Answer]) -> None:
        self._abandoned.discard(trial)
        if not trial.cancelled():
            trial.exception()  # Looked at, so that asyncio does not report it.

    def _fell_silent(self, reason: str) -> None:
        self._silent_until = self.loop.time() + PAUSE
        if not self._is_silent:
            self._is_silent = True
            logger.warning(
                "Shared limit %r cannot use its server (%s). Until it can, it is %s", self._name, reason, self.mode
            )
        self._schedule()

    def _answers_again(self) -> None:
        self._is_silent = False
        logger.info("Shared limit %r can use its server again", self._name)
        self._tell_all()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Leases may have been lost, and calls may have left: the server hears of it as soon as it answers.
        seconds = PAUSE if self._is_silent else self.lease / 3
        self._timer = self.loop.call_later(seconds, self._tell_all)

    def _tell_all(self) -> None:
        self._schedule()
        for line in list(self.lines.values()):
            line.renew()

    async def answer(self, future: Future[bool], seconds: float, late: Callable[[], None]) -> bool:
        """Wait for `future`, and after `seconds` let `late` set it."""
        timer = None if seconds == math.inf else self.loop.call_later(seconds, self._if_late, future, late, TURNS)
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()

    def _if_late(self, future: Future[bool], late: Callable[[], None], turns: int) -> None:
        if not future.done():
            if turns:
                self.loop.call_soon(self._if_late, future, late, turns - 1)
            else:
                late()


class Lease:
    """The place of one call in a shared limit.

    Attributes:
        id: The call's name in the sorted set.
        capacity: How many calls may run if this one is among them.
        patient: Whether the call goes on asking after a no.
        answer: Tells the call whether it may run; after `leave`, that the server knows.
        retry_after: After a no: seconds until the oldest lease ends, if the server has told.
        ends: When the lease ends on the loop's clock, if the server has granted it.
        sent: Whether the server may know the call.
        refused: Whether a patient call has had its first no.
    """

    __slots__ = (
        "_link",
        "_sorted_set",
        "answer",
        "capacity",
        "ends",
        "id",
        "patient",
        "refused",
        "retry_after",
        "sent",
    )

    def __init__(self, link: Link, sorted_set: bytes, name: str, capacity: int, patient: bool) -> None:
        self._link = link
        self._sorted_set = sorted_set
        self.id = name
        self.capacity = capacity
        self.patient = patient
        self.answer: Future[bool] = link.loop.create_future()
        self.retry_after: float | None = None
        self.ends: float | None = None
        self.sent = False
        self.refused = False

    async def ask(self) -> bool:
        """Ask to enter: whether the call may run. Takes `TRY` seconds at most."""
        answer = self.answer
        line = self._link.line(self._sorted_set)
        line.ask(self)
        return await self._link.answer(answer, TRY, lambda: line.answer_alone([self]))

    async def wait(self, seconds: float) -> bool:
        """Go on asking after a no: whether the call may run. Takes `seconds` at most."""
        answer = self.answer
        return await self._link.answer(answer, seconds, lambda: answer.set_result(False))

    def leave(self) -> None:
        """See to it that the server does not count the call, whether it has heard of it or not."""
        self._link.line(self._sorted_set).leave(self)

    async def left(self) -> None:
        """Wait until the server knows that the call has left. Takes `TRY` seconds at most."""
        answer = self.answer
        await self._link.answer(answer, TRY, lambda: answer.set_result(True))


class Line:
    """One sorted set, as one event loop sees it: who asks to enter, in order of arrival; who runs; who leaves.

    Args:
        link: Carries the exchanges.
        sorted_set: The key in Redis.
    """

    __slots__ = ("_asking", "_has_news", "_leaving", "_link", "_poll", "_renews", "_running", "_sorted_set", "_task")

    def __init__(self, link: Link, sorted_set: bytes) -> None:
        self._link = link
        self._sorted_set = sorted_set
        self._asking: dict[Lease, None] = {}
        self._running: dict[Lease, None] = {}
        # Until when it matters that they leave: then their leases have ended anyway.
        self._leaving: dict[Lease, float] = {}
        self._renews = False
        self._has_news = False
        self._task: Task[None] | None = None
        self._poll: TimerHandle | None = None

    def ask(self, lease: Lease) -> None:
        """Join those who ask to enter."""
        self._asking[lease] = None
        if self._link.is_silent():
            self.answer_alone([lease])
        elif self._is_full(lease, len(self._running)):
            self._refuse(lease, self._oldest_ends())
        else:
            self._wake()

    def leave(self, lease: Lease) -> None:
        """Join those who leave, if the server may know the call."""
        self._asking.pop(lease, None)
        self._running.pop(lease, None)
        lease.answer = self._link.loop.create_future()
        if lease.sent:
            self._leaving[lease] = self._link.loop.time() + self._link.lease
        if not lease.sent or self._link.is_silent():
            lease.answer.set_result(True)
        if self._asking or (self._leaving and not self._link.is_silent()):
            self._wake()
        self._drop_if_idle()

    def renew(self) -> None:
        """Let the leases of all that run begin anew, and tell again who has left."""
        now = self._link.loop.time()
        self._leaving = {lease: until for lease, until in self._leaving.items() if until > now}
        self._renews = True
        self._wake()

    def answer_alone(self, leases: list[Lease]) -> None:
        """Decide without the server, which does not answer."""
        for lease in leases:
            if self._link.mode == "closed":
                lease.patient = False
            if self._link.mode == "closed" or self._is_full(lease, len(self._running)):
                self._refuse(lease, None)
            else:
                self._admit(lease)

    def _is_full(self, lease: Lease, running: int) -> bool:
        # What runs on this loop is known without asking, and may be more than the server knows.
        return running + 1 > lease.capacity and self._link.mode != "open"

    def _admit(self, lease: Lease) -> None:
        del self._asking[lease]
        self._running[lease] = None
        if not lease.answer.done():
            lease.answer.set_result(True)

    def _refuse(self, lease: Lease, retry_after: float | None) -> None:
        lease.retry_after = retry_after
        if not lease.patient:
            del self._asking[lease]
        elif lease.refused:
            return
        answer = lease.answer
        if lease.patient:
            lease.refused = True
            lease.answer = self._link.loop.create_future()
        if not answer.done():
            answer.set_result(False)

    def _oldest_ends(self) -> float | None:
        """Return the seconds until the oldest lease of this loop ends."""
        oldest = next(iter(self._running), None)
        if oldest is None or oldest.ends is None:
            return None
        return max(0.0, oldest.ends - self._link.loop.time())

    def _wake(self) -> None:
        self._has_news = True
        # A call that is closed while the loop stands still is told about when it runs again.
        if self._task is None and self._link.loop.is_running():
            self._stop_polling()
            self._task = self._link.loop.create_task(self._exchange_news())
            self._task.add_done_callback(self._ended)

    async def _exchange_news(self) -> None:
        was_cancelled = False
        while self._has_news:
            self._has_news = False
            if self._link.is_silent():
                self._go_on_alone()
                break
            try:
                async with self._link.connections:
                    await self._exchange()
            except asyncio.CancelledError:
                # An event loop that shuts down cancels all tasks. Calls that it has cancelled are about to leave.
                if was_cancelled:
                    raise
                was_cancelled = self._has_news = True

    async def _exchange(self) -> None:
        link = self._link
        if link.is_silent():
            # Another line has found out meanwhile.
            self._go_on_alone()
            return
        leaving = list(self._leaving)
        staying = list(self._running) if self._renews else []
        self._renews = False
        waiting = list(self._asking)
        asking: list[Lease] = []
        for lease in waiting:
            if not self._is_full(lease, len(self._running) + len(asking)):
                asking.append(lease)
        if not (leaving or staying or asking):
            for lease in waiting:
                self._refuse(lease, self._oldest_ends())
            return
        arguments: list[Any] = [max(1, round(link.lease * 1000)), len(leaving), len(staying)]
        arguments += [lease.id for lease in leaving]
        arguments += [lease.id for lease in staying]
        for lease in asking:
            arguments += [lease.id, lease.capacity]
        for lease in (*staying, *asking):
            lease.sent = True
        # Reckoned from now, a lease ends no later here than there.
        ends = link.loop.time() + link.lease
        answer = await link.exchange(self._sorted_set, arguments)
        if answer is None:
            for lease in leaving:
                # If it is not there next time, this try may have reached the server.
                lease.ends = None
            self._go_on_alone()
            return
        lost, entered, oldest_ends = answer
        for lease in leaving:
            self._leaving.pop(lease, None)
            if not lease.answer.done():
                lease.answer.set_result(True)
        # Calls that were admitted without the server had no lease to lose.
        known = [*leaving, *staying]
        lost_here = sum(known[i - 1].ends is not None for i in lost)
        if lost_here:
            link.on_lost(lost_here)
        for lease in staying:
            lease.ends = ends
        answers = dict(zip(asking, entered, strict=True))
        for lease in waiting:
            if answers.get(lease):
                lease.ends = ends
            if lease not in self._asking:
                continue
            if lease not in answers:
                self._refuse(lease, self._oldest_ends())
            elif answers[lease]:
                self._admit(lease)
            else:
                lease.sent = False
                self._refuse(lease, oldest_ends / 1000 if oldest_ends >= 0 else None)

    def _go_on_alone(self) -> None:
        self.answer_alone(list(self._asking))
        for lease in self._leaving:
            if not lease.answer.done():
                lease.answer.set_result(True)

    def _ended(self, task: Task[None]) -> None:
        self._task = None
        # News that came after its last look; or it was cancelled before its first.
        if self._has_news or (task.cancelled() and (self._asking or self._leaving)):
            self._wake()
        elif self._asking and not self._link.is_silent():
            # Half of it to one and a half. (To import `random` would take longer than to import the rest.)
            self._poll = self._link.loop.call_later(POLL * (0.5 + os.urandom(1)[0] / 255), self._wake)
        self._drop_if_idle()

    def _stop_polling(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    def _drop_if_idle(self) -> None:
        if not (self._asking or self._running or self._leaving or self._task):
            self._stop_polling()
            self._link.drop(self._sorted_set)
