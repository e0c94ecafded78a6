"""The leases of one limit on one event loop."""

import math
import os
from asyncio import AbstractEventLoop, Future, Task, sleep
from collections.abc import Callable
from itertools import count

from ._shared_line import Line
from ._shared_server import PAUSE, TRY, Mode, Server
from ._slots import TOLERANCE

# As good as infinity, and a whole number in Lua, whose numbers are floats.
MANY = 2**53


class Leases:
    """All leases of one limit on one event loop.

    Args:
        value: The limit.
        lease: How long a lease is, in seconds.
        mode: What happens while the server does not answer.
        server: The server.
        on_lost: Told how many leases have been lost.
    """

    def __init__(self, value: float, lease: float, mode: Mode, server: Server, on_lost: Callable[[int], None]) -> None:
        self.value = value
        self.lease = lease
        self.mode: Mode = mode
        self.server = server
        self.on_lost = on_lost
        self.loop: AbstractEventLoop = server.loop
        self.lines: dict[bytes, Line] = {}
        self._names = map(f"{os.urandom(12).hex()}:%d".__mod__, count())
        self._renewal: Task[None] | None = None
        server.on_change = self._server_changed

    def new(self, sorted_set: bytes, share: float, patient: bool) -> "Lease":
        """Return the lease of a call that has not asked for it yet."""
        capacity = math.floor(min(self.value * share + TOLERANCE, MANY))
        return Lease(self, sorted_set, next(self._names), capacity, patient)

    def line(self, sorted_set: bytes) -> Line:
        """Return the line of a sorted set, made if nothing goes on there."""
        line = self.lines.get(sorted_set)
        if line is None:
            line = self.lines[sorted_set] = Line(self, sorted_set)
        return line

    def drop(self, sorted_set: bytes) -> None:
        """Forget a line on which nothing goes on."""
        del self.lines[sorted_set]
        if not self.lines:
            self._stop_renewing()

    def start_renewing(self) -> None:
        """See to it that all lines renew their leases."""
        if self._renewal is None:
            self._renewal = self.loop.create_task(self._renew())
            self._renewal.add_done_callback(self._renewal_ended)

    def _stop_renewing(self) -> None:
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.cancel()

    async def _renew(self) -> None:
        while True:
            await sleep(self.lease / 3 if self.server.answers else PAUSE)
            for line in list(self.lines.values()):
                line.renew()

    def _renewal_ended(self, task: Task[None]) -> None:
        # If not by us, it has been cancelled by an event loop that shuts down.
        if self._renewal is task:
            self._renewal = None

    def _server_changed(self) -> None:
        # (Not if an event loop that shuts down has just cancelled it.)
        if self._renewal is not None and not self._renewal.cancelling():
            self._stop_renewing()
            self.start_renewing()
        for line in list(self.lines.values()):
            if self.server.answers:
                # Leases may have been lost, and calls may have left.
                line.renew()
            else:
                line.go_on_alone()


class Lease:
    """The place of one call in a shared limit.

    Attributes:
        id: The call's name in the sorted set.
        capacity: How many calls may run if this one is among them.
        patient: Whether the call goes on asking after a no.
        answer: Tells the call whether it may run; after `leave`, that the server knows.
        retry_after: After a no: seconds until the oldest lease ends, if the server has told.
        granted: Whether the server has granted the lease, as far as is known.
        sent: Whether the server may know the call.
        refused: Whether a patient call has had its first no.
    """

    __slots__ = (
        "_leases",
        "_sorted_set",
        "answer",
        "capacity",
        "granted",
        "id",
        "patient",
        "refused",
        "retry_after",
        "sent",
    )

    def __init__(self, leases: Leases, sorted_set: bytes, name: str, capacity: int, patient: bool) -> None:
        self._leases = leases
        self._sorted_set = sorted_set
        self.id: str = name
        self.capacity: int = capacity
        self.patient: bool = patient
        self.answer: Future[bool] = leases.loop.create_future()
        self.retry_after: float | None = None
        self.granted: bool = False
        self.sent: bool = False
        self.refused: bool = False

    async def ask(self) -> bool:
        """Ask to enter: whether the call may run. Takes `TRY` seconds at most."""
        answer = self.answer
        line = self._leases.line(self._sorted_set)
        line.ask(self)
        return await self._leases.server.wait(answer, TRY, lambda: line.decide(self))

    async def wait(self, seconds: float) -> bool:
        """Go on asking after a no: whether the call may run. Takes `seconds` at most."""
        answer = self.answer
        return await self._leases.server.wait(answer, seconds, lambda: answer.set_result(False))

    def leave(self) -> None:
        """See to it that the server does not count the call, whether it has heard of it or not."""
        self._leases.line(self._sorted_set).leave(self)

    async def left(self) -> None:
        """Wait until the server knows that the call has left. Takes `TRY` seconds at most."""
        answer = self.answer
        await self._leases.server.wait(answer, TRY, lambda: answer.set_result(True))
