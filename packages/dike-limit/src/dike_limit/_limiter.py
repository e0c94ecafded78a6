"""The decorator."""

import threading
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, TypeVar

from . import _options
from ._call import LoopSlots, checked_share
from ._functions import is_coroutine_function, named, wrap
from ._limit import Limit, NumberLimit
from ._loops import PerLoop
from ._too_many_calls import TooManyCalls

F = TypeVar("F")


class _Loops(PerLoop[LoopSlots]):
    """The slots of each event loop, and the counters of those that are gone."""

    __slots__ = ("_lock", "admitted", "rejected")

    def __init__(self, factory: Callable[[], LoopSlots]) -> None:
        super().__init__(factory)
        self.admitted = 0
        self.rejected = 0
        self._lock = threading.Lock()

    def __missing__(self, loop: AbstractEventLoop) -> LoopSlots:
        with self._lock:
            for other in list(self):
                if other.is_closed():
                    gone = self.pop(other)
                    self.admitted += gone.admitted
                    self.rejected += gone.rejected
        return super().__missing__(loop)


class JobLimiter:
    """The decorator that `limit_jobs` makes.

    Put on several functions it limits them together: they share its slots.
    """

    def __init__(
        self,
        *,
        limit: float | Limit,
        max_waiting_time: float | timedelta = 0.0,
        max_waiting_calls: float | None = None,
        key: Callable[..., Any] | None = None,
        share: float | Callable[..., float] = 1.0,
    ) -> None:
        if isinstance(limit, Limit):
            limit.bind(has_key=key is not None)
            self._limit = limit
        else:
            try:
                self._limit = NumberLimit(limit)
            except ValueError:
                raise ValueError("Error when wrapping f(). Limit must be >= 0!") from None
        self._max_waiting_time = _options.seconds("max_waiting_time", max_waiting_time)
        _options.require(self._max_waiting_time >= 0, "max_waiting_time", ">= 0", max_waiting_time)
        if max_waiting_calls is not None:
            _options.require(
                _options.number("max_waiting_calls", max_waiting_calls) >= 0,
                "max_waiting_calls",
                ">= 0",
                max_waiting_calls,
            )
        self._max_waiting_calls = max_waiting_calls
        if key is not None:
            _check_callable("key", key)
        self._key = key
        if callable(share):
            _check_callable("share", share)
            self._share: float | Callable[..., float] = share
        else:
            self._share = checked_share(share)
        self._loops = _Loops(lambda: LoopSlots(self._limit.on_loop()))

    def __call__(self, func: F) -> F:
        """Limit a coroutine function or an async generator function."""
        is_plain = (
            isinstance(self._limit, NumberLimit)
            and not self._max_waiting_time
            and self._key is None
            and self._share == 1.0
        )
        wrapped: F = wrap(
            func,
            coroutine=self._plain_coroutine if is_plain else self._coroutine,
            async_generator=self._async_generator,
        )
        return wrapped

    def slot(self, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[None]:
        """Limit a stretch of code: ``async with limiter.slot():``.

        Args:
            *args: Passed to `key` and `share`.
            **kwargs: Passed to `key` and `share`.
        """
        return self._limit.call(self, args, kwargs)

    @property
    def limit(self) -> float:
        """The limit. It can be set if it was given as a number."""
        return self._limit.current()

    @limit.setter
    def limit(self, limit: float) -> None:
        if not isinstance(self._limit, NumberLimit):
            raise AttributeError(f"limit cannot be set, since it was given as {self._limit!r}")
        self._limit.set(limit)
        for loop_slots in self._here():
            for slots in loop_slots.all():
                slots.look_again()

    @property
    def in_flight(self) -> int:
        """How many calls run: on the running event loop, or on all if there is none."""
        return sum(slots.in_flight for loop_slots in self._seen() for slots in loop_slots.all())

    @property
    def waiting(self) -> int:
        """How many calls wait: on the running event loop, or on all if there is none."""
        return sum(slots.waiting for loop_slots in self._seen() for slots in loop_slots.all())

    @property
    def admitted(self) -> int:
        """How many calls have been admitted so far: on the running event loop, or on all if there is none."""
        return sum(loop_slots.admitted for loop_slots in self._seen())

    @property
    def rejected(self) -> int:
        """How many calls have been refused so far: on the running event loop, or on all if there is none."""
        return sum(loop_slots.rejected for loop_slots in self._seen())

    def _here(self) -> list[LoopSlots]:
        try:
            loop = get_running_loop()
        except RuntimeError:
            return []
        return [self._loops[loop]] if loop in self._loops else []

    def _seen(self) -> list[LoopSlots]:
        try:
            return [self._loops[get_running_loop()]]
        except RuntimeError:
            return list(self._loops.values())

    def _plain_coroutine(self, func: Any) -> Any:
        # The shell for a plain number and no options, which is on the path of every call of most users.
        loops = self._loops
        limit = self._limit
        assert isinstance(limit, NumberLimit)
        name = named(func).__name__
        qualname = named(func).__qualname__

        async def limited(*args: Any, **kwargs: Any) -> Any:
            loop_slots = loops[get_running_loop()]
            slots = loop_slots.slots
            if slots.in_flight >= limit.ceiling:
                loop_slots.rejected += 1
                raise TooManyCalls(
                    f"Too many calls to function {name}! limit={limit.current()} exceeded",
                    function=qualname,
                    limit=limit.current(),
                    in_flight=slots.in_flight,
                    waiting=0,
                )
            slots.in_flight += 1
            loop_slots.admitted += 1
            try:
                return await func(*args, **kwargs)
            finally:
                slots.in_flight -= 1

        return limited

    def _coroutine(self, func: Any) -> Any:
        call = self._limit.call

        async def limited(*args: Any, **kwargs: Any) -> Any:
            async with call(self, args, kwargs, func):
                return await func(*args, **kwargs)

        return limited

    def _async_generator(self, func: Any) -> Any:
        call = self._limit.call

        async def limited(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            async with call(self, args, kwargs, func, is_stream=True):
                items = func(*args, **kwargs)
                try:
                    item = await anext(items)
                    while True:
                        try:
                            sent = yield item
                        except GeneratorExit:
                            raise
                        except BaseException as exception:
                            item = await items.athrow(exception)
                        else:
                            item = await items.asend(sent)
                except StopAsyncIteration:
                    return
                finally:
                    await items.aclose()

        return limited


def _check_callable(name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function, but got {value!r}")
    if is_coroutine_function(value):
        raise TypeError(f"{name} must be a function that is not a coroutine function, but got {value!r}")
