"""The slots of one limiter, by event loop and by key."""

from __future__ import annotations

import os
import threading
from asyncio import AbstractEventLoop, BaseEventLoop, get_running_loop
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakValueDictionary

from ._loops import PerLoop
from ._slots import LimitOfTheMoment, Slots


class _Nobody:
    """In the place of an event loop: runs in no thread."""

    _thread_id = None


class LoopSlots(Slots):
    """The slots of a limiter on one event loop: its own, and those of each key.

    Those without a key are this object itself, so that the path of every call is short.

    Args:
        loop: The event loop.
        factory: Makes the slots of a key.

    Attributes:
        runner: Its `_thread_id` is the thread in which the event loop runs now.
        admitted: How many calls have been admitted, with a key or without.
        rejected: How many calls have been refused, with a key or without.
    """

    __slots__ = ("_arguments", "_by_key", "rejected", "runner")

    def __init__(
        self,
        loop: AbstractEventLoop,
        limit: LimitOfTheMoment,
        max_waiting_time: float,
        max_waiting_calls: float | None,
    ) -> None:
        super().__init__(loop, limit, max_waiting_time, max_waiting_calls)
        # An event loop that runs in a way of its own may not tell in which thread.
        self.runner: Any = loop if getattr(type(loop), "run_forever", None) is BaseEventLoop.run_forever else _Nobody
        self.rejected: int = 0
        self._arguments = (loop, limit, max_waiting_time, max_waiting_calls)
        self._by_key: dict[Hashable, Slots] = {}

    def of(self, key: Hashable) -> Slots:
        """Return the slots of `key`."""
        slots = self._by_key.get(key)
        if slots is None:
            slots = self._by_key[key] = Slots(*self._arguments, key)
        return slots

    def drop_if_idle(self, slots: Slots) -> None:
        """Forget a key of which nothing runs or waits."""
        # Perhaps it has been forgotten already, or its next call has come since.
        if slots is not self and not slots.in_flight and not slots.waiting and self._by_key.get(slots.key) is slots:
            del self._by_key[slots.key]

    def all(self) -> list[Slots]:
        """Return all slots."""
        return [self, *self._by_key.values()]


class Gone:
    """What is left of event loops that have been closed.

    Attributes:
        admitted: How many calls have been admitted.
        rejected: How many calls have been refused.
    """

    def __init__(self) -> None:
        self.admitted: float = 0.0
        self.rejected: int = 0

    def all(self) -> list[Slots]:
        """Return no slots."""
        return []


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

    def here(self) -> LoopSlots:
        """Return the slots of the running event loop, with a look at the limit."""
        here = self[get_running_loop()]
        # In this order, so that a change of the limit in another thread is not missed.
        self.last = here
        here.look()
        return here

    def forget_last(self) -> None:
        """Make sure that the next call on any event loop goes through `here`."""
        self.last = _NOWHERE

    def forget(self) -> None:
        """Forget all event loops."""
        self._lock = threading.Lock()
        self.clear()
        self.forget_last()

    def in_view(self) -> list[LoopSlots | Gone]:
        """Return what there is of the running event loop, or of all event loops if none is running."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            self.drop_closed()
            return [self._gone, *self.values()]
        return [self[loop]] if loop in self else []

    def drop_closed(self) -> None:
        """Forget the event loops that are closed, but not their counters."""
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
    # In a forked process the event loop of the parent seems to run, and a thread that is gone may have held a lock.
    for loops in _all_limiters.values():
        loops.forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch
    os.register_at_fork(after_in_child=_forget_loops)
