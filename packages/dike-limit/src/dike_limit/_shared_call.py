"""One call's way through a limiter with a limit kept in Redis."""

from __future__ import annotations

from asyncio import get_running_loop
from types import TracebackType

from ._rules import Call
from ._shared import SharedLimit
from ._shared_leases import Lease
from ._slots import TOLERANCE


class SharedCall(Call):
    """One call's way through a limiter with a `SharedLimit`."""

    __slots__ = ("_lease",)

    _lease: Lease

    async def __aenter__(self) -> None:
        """Get a lease, or raise `TooManyCalls`."""
        if not self.find_slots():
            return
        slots = self.slots
        assert slots is not None
        limit, max_waiting_time = self.rules.limit, self.rules.max_waiting_time
        assert isinstance(limit, SharedLimit)
        time = get_running_loop().time
        deadline = time() + max_waiting_time
        may_wait = max_waiting_time > 0 and limit.current() + TOLERANCE >= 1
        # While it asks, it neither runs nor waits, and its key may be forgotten.
        self.loop_slots.drop_if_idle(slots)
        self._lease = lease = limit.new_lease(self.key, self.share, may_wait)
        try:
            may_run = await lease.ask()
            self.slots = slots = self.loop_slots if self.rules.key is None else self.loop_slots.of(self.key)
            if not may_run and lease.patient and slots.has_room():
                slots.waiting += 1
                try:
                    may_run = await lease.wait(deadline - time())
                finally:
                    slots.waiting -= 1
        except BaseException as exception:
            self.loop_slots.drop_if_idle(slots)
            lease.leave()
            if not isinstance(exception, GeneratorExit):
                await lease.left()
            raise
        if not may_run:
            lease.leave()
            raise self.refusal(lease.retry_after)
        slots.take()
        self.admitted()

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the lease back."""
        if self.slots is None:
            return
        self.give_back()
        self._lease.leave()
        # A coroutine that is closed must not suspend; a generator may, if it is closed as it should be, by `aclose`.
        if self.is_stream or not isinstance(exception, GeneratorExit):
            await self._lease.left()
