"""One call's way through a limiter with a limit that finds itself."""

from __future__ import annotations

from asyncio import get_running_loop
from types import TracebackType

from ._adaptive import AdaptiveLimit
from ._rules import Call


class AdaptiveCall(Call):
    """One call's way through a limiter with an `AdaptiveLimit`."""

    __slots__ = ("_began", "_loop", "_search")

    def admitted(self) -> None:
        """Count the call as admitted, and look at the clock."""
        super().admitted()
        limit = self.rules.limit
        assert isinstance(limit, AdaptiveLimit)
        self._loop = loop = get_running_loop()
        self._search = limit.searches[loop]
        self._began = loop.time()

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        slots = self.slots
        assert slots is not None
        limit = self.rules.limit
        assert isinstance(limit, AdaptiveLimit)
        if self.is_stream or not (exception is None or isinstance(exception, limit.drop_on)):
            self._search.ignore(slots.in_flight)
        else:
            now = self._loop.time()
            self._search.measure(slots.in_flight, now, now - self._began, exception is not None)
        self.give_back()
        slots.look()
