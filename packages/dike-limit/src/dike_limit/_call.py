"""One call's way through a limiter.

This is where other kinds of limit plug in. A limit (see `_limit.Limit`) names the class of its calls, a subclass of
`Call` that overrides `__aenter__` and `__aexit__` and builds on these steps:

* `find_slots()`: asks `key` and `share`; False for a call that bypasses the limit, and then `slots` stays `None`;
* `try_take()`: takes a slot of this event loop if one is free;
* `await wait()`: waits for one else, or raises `TooManyCalls`;
* `admitted()`: counts the call as admitted;
* `give_back()`: frees the slot of this event loop, and forgets the key if nothing of it runs or waits;
* `refusal(retry_after)`: counts the call as rejected, and makes the exception to raise.

`find_slots` sets `key`, `share`, and `loop_slots` and `slots`, both of the running event loop. Between `try_take` and
`give_back` the call holds one of `slots`; a subclass that waits in a way of its own adds itself to ``slots.waiting``
meanwhile, which also keeps the key's state alive. `is_stream` tells an async generator from a coroutine.

`__aexit__` sees what ended the call. With a `GeneratorExit` (a coroutine closed unfinished) it must not suspend.
"""

from collections.abc import Hashable, Mapping
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _options
from ._functions import named
from ._loop_slots import LoopSlots
from ._slots import Slots
from ._too_many_calls import TooManyCalls, refusal

if TYPE_CHECKING:
    from ._rules import Rules


class Call:
    """One call's way through a limiter: an async context manager that holds a slot.

    Args:
        rules: Those of the limiter.
        args: Positional arguments, for `key` and `share`.
        kwargs: Keyword arguments, for `key` and `share`.
        func: The function called, if any.
        is_stream: Whether it is an async generator function.
    """

    __slots__ = ("args", "func", "is_stream", "key", "kwargs", "loop_slots", "rules", "share", "slots")

    loop_slots: LoopSlots

    def __init__(
        self,
        rules: "Rules",
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        func: Any = None,
        is_stream: bool = False,
    ) -> None:
        self.rules = rules
        self.args = args
        self.kwargs = kwargs
        self.func = func
        self.is_stream = is_stream
        self.key: Hashable = None
        self.share = 1.0
        self.slots: Slots | None = None

    async def __aenter__(self) -> None:
        if self.find_slots():
            if not self.try_take():
                await self.wait()
            self.admitted()

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.slots is not None:
            self.give_back()

    def find_slots(self) -> bool:
        """Find out the call's key, share and slots; False for a call that bypasses the limit."""
        rules = self.rules
        key = rules.key
        if key is not None:
            self.key = key(*self.args, **self.kwargs)
            if self.key is None:
                self.slots = None
                return False
        share = rules.share
        if callable(share):
            value = share(*self.args, **self.kwargs)
            try:
                self.share = checked_share(value)
            except TypeError as error:
                raise ValueError(str(error)) from None
        else:
            self.share = share
        loop_slots: LoopSlots = rules.loops.last
        if loop_slots.runner._thread_id != get_ident():
            loop_slots = rules.loops.here()
        self.loop_slots = loop_slots
        self.slots = loop_slots if key is None else loop_slots.of(self.key)
        return True

    def try_take(self) -> bool:
        """Take a slot of this event loop if one is free."""
        assert self.slots is not None
        return self.slots.try_take(self.share)

    async def wait(self) -> None:
        """Wait for a slot of this event loop, after `try_take` has failed, or raise `TooManyCalls`."""
        slots = self.slots
        assert slots is not None
        if slots.has_room():
            turn = slots.join(self.share)
            try:
                if await turn:
                    return
            except BaseException:
                slots.depart(turn)
                self.loop_slots.drop_if_idle(slots)
                raise
        raise self.refusal()

    def admitted(self) -> None:
        """Count the call as admitted."""
        self.loop_slots.count_admitted()

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
        opening, function = "Too many calls", None
        if self.func is not None:
            opening, function = opening_and_function(self.func)
        limit = self.rules.limit.current()
        text = f"{opening}! limit={limit} exceeded"
        return refusal(text, function, limit, slots.in_flight, slots.waiting, self.key, retry_after)


def checked_share(share: Any) -> float:
    """Return `share` as a float.

    Raises:
        TypeError: It is not a number.
        ValueError: It is not in (0, 1].
    """
    value = _options.number("share", share)
    _options.require(0 < value <= 1, "share", "in (0, 1]", share)
    return value


def opening_and_function(func: Any) -> tuple[str, str]:
    """Return how the text of a refusal of `func` begins, and the qualified name of `func`."""
    func = named(func)
    return f"Too many calls to function {func.__name__}", func.__qualname__
