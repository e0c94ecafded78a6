"""The slots of one limiter, by event loop and by key."""

import os
import threading
from asyncio import AbstractEventLoop, BaseEventLoop, get_running_loop
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakValueDictionary

from ._loops import PerLoop
from ._slots import Slots


class _Nobody:
    """In the place of an event loop: runs in no thread."""

    _thread_id = None


class LoopSlots:
    """All slots of one limiter on one event loop, and its counters there.

    Args:
        loop: The event loop.
        factory: Makes the slots of a key.

    Attributes:
        runner: Its `_thread_id` is the thread in which the event loop runs now.
        slots: The slots of a limiter without `key`. They also count the calls admitted with one.
        by_key: The slots of each key of which something runs or waits.
        rejected: How many calls have been refused.
    """

    __slots__ = ("_factory", "by_key", "rejected", "runner", "slots")

    def __init__(self, loop: AbstractEventLoop, factory: Callable[[Hashable], Slots]) -> None:
        # An event loop that runs in a way of its own may not tell in which thread.
        self.runner: Any = loop if getattr(type(loop), "run_forever", None) is BaseEventLoop.run_forever else _Nobody
        self.slots = factory(None)
        self.by_key: dict[Hashable, Slots] = {}
        self.rejected = 0
        self._factory = factory

    @property
    def in_flight(self) -> int:
        """How many calls run."""
        return sum(slots.in_flight for slots in self.all())

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return sum(slots.waiting for slots in self.all())

    @property
    def admitted(self) -> int:
        """How many calls have been admitted."""
        return self.slots.admitted

    def count_admitted(self) -> None:
        """Count a call as admitted that has taken a slot."""
        self.slots.admitted += 1
        self.slots.admissible += 1

    def of(self, key: Hashable) -> Slots:
        """Return the slots of `key`."""
        slots = self.by_key.get(key)
        if slots is None:
            slots = self.by_key[key] = self._factory(key)
        return slots

    def drop_if_idle(self, slots: Slots) -> None:
        """Forget a key of which nothing runs or waits."""
        # Perhaps it has been forgotten already, or its next call has come since.
        if not slots.in_flight and not slots.waiting and self.by_key.get(slots.key) is slots:
            del self.by_key[slots.key]

    def all(self) -> list[Slots]:
        """Return the slots of all keys, and those of a limiter without."""
        return [self.slots, *self.by_key.values()]


class Gone:
    """The counters of event loops that have been closed."""

    in_flight = 0
    waiting = 0
    admitted = 0
    rejected = 0


class EachLoopSlots(PerLoop[LoopSlots]):
    """The slots of each event loop.

    To find the running event loop takes as long as all the rest of a call: on Python 3.11 `get_running_loop` asks the
    operating system for the number of the process. So first a look at those slots that were found last::

        here = loops.last
        if here.runner._thread_id != get_ident():
            here = loops.here()

    An event loop runs in this thread if, and only if, its `_thread_id` is that of this thread.

    Attributes:
        last: The slots found last.
    """

    __slots__ = ("__weakref__", "_gone", "_lock", "last")

    def __init__(self, factory: Callable[[], LoopSlots]) -> None:
        super().__init__(factory)
        self._gone = Gone()
        self._lock = threading.Lock()
        self.last: LoopSlots = _NOWHERE
        _all_limiters[id(self)] = self

    def __missing__(self, loop: AbstractEventLoop) -> LoopSlots:
        self._drop_closed()
        return super().__missing__(loop)

    def here(self) -> LoopSlots:
        """Return the slots of the running event loop, with a look at the limit."""
        here = self[get_running_loop()]
        # In this order, so that a change of the limit in another thread is not missed.
        self.last = here
        here.slots.look()
        return here

    def forget_last(self) -> None:
        """Make sure that the next call on any event loop goes through `here`."""
        self.last = _NOWHERE

    def in_view(self) -> list[LoopSlots | Gone]:
        """Return what is to be counted: of the running event loop, or of all if there is none."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            self._drop_closed()
            return [self._gone, *self.values()]
        return [self[loop]] if loop in self else []

    def _drop_closed(self) -> None:
        with self._lock:
            for loop in list(self):
                if loop.is_closed():
                    closed = self.pop(loop)
                    self._gone.admitted += closed.admitted
                    self._gone.rejected += closed.rejected


class _Nowhere:
    runner = _Nobody


# In the place of the slots of an event loop.
_NOWHERE: Any = _Nowhere
_all_limiters: WeakValueDictionary[int, EachLoopSlots] = WeakValueDictionary()


def _forget_loops() -> None:
    # An event loop of the parent may seem to run in a forked process.
    for loops in _all_limiters.values():
        loops.clear()
        loops.forget_last()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_loops)
