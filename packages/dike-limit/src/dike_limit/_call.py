"""One call's way through a limiter.

This is where other kinds of limit plug in. A limit (see `_limit.Limit`) names the class of its calls, a subclass of
`Call` that overrides `__aenter__` and `__aexit__` and builds on these steps:

* `find_slots()`: asks `key` and `share`; False for a call that bypasses the limit, and then `slots` stays `None`;
* `await take()`: takes a slot of this event loop, or raises `TooManyCalls` after having waited in vain;
* `admitted()`: counts the call as admitted;
* `give_back()`: frees the slot of this event loop, and forgets the key if nothing of it runs or waits;
* `refusal(retry_after)`: counts the call as rejected, and makes the exception to raise.

`find_slots` sets `key`, `share`, and `loop_slots` and `slots`, both of the running event loop. Between `take` and
`give_back` the call holds one of `slots`; a subclass that waits in a way of its own adds itself to ``slots.waiting``
meanwhile, which also keeps the key's state alive. `is_stream` tells an async generator from a coroutine.

`__aexit__` sees what ended the call. With a `GeneratorExit` (a coroutine closed unfinished) it must not suspend.
"""

import math
import numbers
from asyncio import get_running_loop
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._functions import named
from ._slots import TOLERANCE, LimitOfTheMoment, Slots
from ._too_many_calls import TooManyCalls

if TYPE_CHECKING:
    from ._limiter import JobLimiter


class LoopSlots:
    """All slots of one limiter on one event loop, and its counters there.

    Attributes:
        admitted: How many calls have been admitted.
        rejected: How many calls have been refused.
        slots: The slots of a limiter without `key`.
        by_key: The slots of each key of which something runs or waits.
    """

    __slots__ = ("admitted", "by_key", "rejected", "slots")

    def __init__(self, limit: LimitOfTheMoment) -> None:
        self.admitted = 0
        self.rejected = 0
        self.slots = Slots(limit)
        self.by_key: dict[Hashable, Slots] = {}

    def of(self, key: Hashable) -> Slots:
        """Return the slots of `key`."""
        slots = self.by_key.get(key)
        if slots is None:
            slots = self.by_key[key] = Slots(self.slots.limit, key)
        return slots

    def drop_if_idle(self, slots: Slots) -> None:
        """Forget a key of which nothing runs or waits."""
        if not slots.in_flight and not slots.waiting and slots is not self.slots:
            del self.by_key[slots.key]

    def all(self) -> list[Slots]:
        """Return the slots of all keys, and those without."""
        return [self.slots, *self.by_key.values()]


class Call:
    """One call's way through a limiter: an async context manager that holds a slot.

    Args:
        limiter: The limiter.
        args: Positional arguments, for `key` and `share`.
        kwargs: Keyword arguments, for `key` and `share`.
        func: The function called, if any.
        is_stream: Whether it is an async generator function.
    """

    __slots__ = ("args", "func", "is_stream", "key", "kwargs", "limiter", "loop_slots", "share", "slots")

    loop_slots: LoopSlots

    def __init__(
        self,
        limiter: "JobLimiter",
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        func: Any = None,
        is_stream: bool = False,
    ) -> None:
        self.limiter = limiter
        self.args = args
        self.kwargs = kwargs
        self.func = func
        self.is_stream = is_stream
        self.key: Hashable = None
        self.share = 1.0
        self.slots: Slots | None = None

    async def __aenter__(self) -> None:
        if self.find_slots():
            await self.take()
            self.admitted()

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.slots is not None:
            self.give_back()

    def find_slots(self) -> bool:
        """Find out the call's key, share and slots; False for a call that bypasses the limit."""
        limiter = self.limiter
        key = limiter._key
        if key is not None:
            self.key = key(*self.args, **self.kwargs)
            if self.key is None:
                return False
            hash(self.key)
        share = limiter._share
        if callable(share):
            self.share = checked_share(share(*self.args, **self.kwargs))
        else:
            self.share = share
        self.loop_slots = loop_slots = limiter._loops[get_running_loop()]
        self.slots = loop_slots.slots if key is None else loop_slots.of(self.key)
        return True

    async def take(self) -> None:
        """Take a slot of this event loop, or raise `TooManyCalls`."""
        slots = self.slots
        assert slots is not None
        if slots.try_enter(self.share):
            return
        limiter = self.limiter
        limit = slots.limit.value
        if limiter._max_waiting_time and limit + TOLERANCE >= 1:
            room = limiter._max_waiting_calls
            if room is None:
                room = math.ceil(limit - TOLERANCE)
            if slots.waiting + 1 <= room:
                try:
                    if await slots.wait(self.share, limiter._max_waiting_time):
                        return
                except BaseException:
                    self.loop_slots.drop_if_idle(slots)
                    raise
        raise self.refusal()

    def admitted(self) -> None:
        """Count the call as admitted."""
        self.loop_slots.admitted += 1

    def give_back(self) -> None:
        """Free the slot of this event loop."""
        slots = self.slots
        assert slots is not None
        slots.leave()
        self.loop_slots.drop_if_idle(slots)

    def refusal(self, retry_after: float | None = None) -> TooManyCalls:
        """Count the call as rejected, and return what to raise."""
        slots = self.slots
        assert slots is not None
        self.loop_slots.rejected += 1
        self.loop_slots.drop_if_idle(slots)
        limit = self.limiter.limit
        callee = "" if self.func is None else f" to function {named(self.func).__name__}"
        return TooManyCalls(
            f"Too many calls{callee}! limit={limit} exceeded",
            function=None if self.func is None else named(self.func).__qualname__,
            limit=limit,
            in_flight=slots.in_flight,
            waiting=slots.waiting,
            key=self.key,
            retry_after=retry_after,
        )


def checked_share(share: Any) -> float:
    """Return `share` as a float.

    Raises:
        ValueError: It is not a number in (0, 1].
    """
    if isinstance(share, bool) or not isinstance(share, numbers.Real) or not 0 < float(share) <= 1:
        raise ValueError(f"share must be a number in (0, 1], but got {share!r}")
    return float(share)
