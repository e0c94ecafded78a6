"""What a limiter has been told, and one call's way through it."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Callable, Hashable, Mapping
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._decorating import is_async_generator_function, is_coroutine_function, named, number, require, seconds
from ._limit import Limit
from ._loop_slots import EachLoopSlots, LoopSlots
from ._slots import LimitOfTheMoment, Slots
from ._too_many_calls import TooManyCalls, refusal

if TYPE_CHECKING:
    from datetime import timedelta


class Rules:
    """What a limiter has been told, and its slots.

    Args:
        limit: See `limit_jobs`, like all the others.
        max_waiting_time: See there.
        max_waiting_calls: See there.
        key: See there.
        share: See there.

    Attributes:
        limit: The limit.
        max_waiting_time: In seconds.
        key: A function that finds a call's key, or `None`.
        share: A number, or a function that finds a call's share.
        loops: The slots of each event loop.
    """

    def __init__(
        self,
        *,
        limit: float | Limit,
        max_waiting_time: float | timedelta,
        max_waiting_calls: float | None,
        key: Callable[..., Any] | None,
        share: float | Callable[..., Any],
    ) -> None:
        self.max_waiting_time: float = seconds("max_waiting_time", max_waiting_time)
        require(self.max_waiting_time >= 0, "max_waiting_time", ">= 0", max_waiting_time)
        if max_waiting_calls is not None:
            require(number("max_waiting_calls", max_waiting_calls) >= 0, "max_waiting_calls", ">= 0", max_waiting_calls)
        self._max_waiting_calls = max_waiting_calls
        if key is not None:
            _check_function("key", key)
        self.key = key
        if callable(share):
            _check_function("share", share)
            self.share: float | Callable[..., Any] = share
        else:
            self.share = checked_share(share)
        if isinstance(limit, Limit):
            limit.bind(has_key=key is not None)
            self.limit: Limit = limit
        else:
            try:
                self.limit = NumberLimit(limit)
            except ValueError as error:
                raise ValueError("Error when wrapping f(). Limit must be >= 0!") from error
        self.loops: EachLoopSlots = EachLoopSlots(self._new_loop_slots)

    def _new_loop_slots(self) -> LoopSlots:
        return LoopSlots(get_running_loop(), self.limit.on_loop(), self.max_waiting_time, self._max_waiting_calls)


class Call:
    """One call's way through a limiter: an async context manager that holds a slot.

    This is where other kinds of limit plug in: a subclass overrides `__aenter__` and `__aexit__`, and builds on these
    steps:

    * `find_slots()`: asks `key` and `share`; False for a call that bypasses the limit, and then `slots` stays `None`;
    * `try_take()`: takes a slot of this event loop if one is free;
    * `await wait()`: waits for one else, or raises `TooManyCalls`;
    * `admitted()`: counts the call as admitted;
    * `give_back()`: frees the slot of this event loop, and forgets the key if nothing of it runs or waits;
    * `refusal(retry_after)`: counts the call as rejected, and makes the exception to raise.

    `find_slots` sets `key`, `share`, and `loop_slots` and `slots`, both of the running event loop. Between `try_take`
    and `give_back` the call holds one of `slots`; a subclass that waits in a way of its own adds itself to
    ``slots.waiting`` meanwhile, which also keeps the key's state alive. `is_stream` tells an async generator from a
    coroutine.

    `__aexit__` sees what ended the call. With a `GeneratorExit` (a coroutine closed unfinished) it must not suspend.

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
        rules: Rules,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        func: Any = None,
        is_stream: bool = False,
    ) -> None:
        self.rules: Rules = rules
        self.args: tuple[Any, ...] = args
        self.kwargs: Mapping[str, Any] = kwargs
        self.func: Any = func
        self.is_stream: bool = is_stream
        self.key: Hashable = None
        self.share: float = 1.0
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


class NumberLimit(Limit):
    """A number, the same on all event loops.

    Attributes:
        given: The number as it was given.
        value: The number as a float.
        exceeded: The end of the text of a refusal.
    """

    __slots__ = ("exceeded", "given", "value")

    call = Call

    def __init__(self, limit: Any) -> None:
        self.set(limit)

    def set(self, limit: Any) -> None:
        """Change the limit."""
        value = number("limit", limit)
        require(value >= 0, "limit", ">= 0", limit)
        self.given: float = limit
        self.exceeded: str = f"! limit={limit} exceeded"
        self.value: float = value

    def on_loop(self) -> LimitOfTheMoment:
        """Return itself."""
        return self

    def current(self) -> float:
        """Return the number as it was given."""
        return self.given


def checked_share(share: Any) -> float:
    """Return `share` as a float.

    Raises:
        TypeError: It is not a number.
        ValueError: It is not in (0, 1].
    """
    value = number("share", share)
    require(0 < value <= 1, "share", "in (0, 1]", share)
    return value


def opening_and_function(func: Any) -> tuple[str, str]:
    """Return how the text of a refusal of `func` begins, and the qualified name of `func`."""
    func = named(func)
    return f"Too many calls to function {func.__name__}", func.__qualname__


def _check_function(name: str, value: Any) -> None:
    if not callable(value) or is_coroutine_function(value) or is_async_generator_function(value):
        raise TypeError(f"{name} must be a function, and not an async one, but got {value!r}")
