"""The decorator."""

from asyncio import get_running_loop
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from . import _options, _shells
from ._call import checked_share
from ._functions import is_coroutine_function, wrap
from ._limit import Limit, NumberLimit
from ._loop_slots import EachLoopSlots, LoopSlots

F = TypeVar("F")


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
            except ValueError as error:
                raise ValueError("Error when wrapping f(). Limit must be >= 0!") from error
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
        self._loops = EachLoopSlots(self._new_loop_slots)

    def __call__(self, func: F) -> F:
        """Limit a coroutine function or an async generator function."""
        wrapped: F = wrap(
            func, coroutine=self._coroutine_shell(), async_generator=partial(_shells.async_generator, self)
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
        self._loops.forget_last()
        # Those who wait on other event loops are theirs to wake: a future must not be touched from another thread.
        with suppress(RuntimeError):
            for slots in self._loops.here().all():
                slots.look()

    @property
    def in_flight(self) -> int:
        """How many calls run: on the running event loop, or on all if there is none."""
        return sum(slots.in_flight for each in self._loops.in_view() for slots in each.all())

    @property
    def waiting(self) -> int:
        """How many calls wait: on the running event loop, or on all if there is none."""
        return sum(slots.waiting for each in self._loops.in_view() for slots in each.all())

    @property
    def admitted(self) -> int:
        """How many calls have been admitted so far: on the running event loop, or on all if there is none."""
        return sum(each.admitted for each in self._loops.in_view())

    @property
    def rejected(self) -> int:
        """How many calls have been refused so far: on the running event loop, or on all if there is none."""
        return sum(each.rejected for each in self._loops.in_view())

    def _coroutine_shell(self) -> Callable[[Any], Any]:
        limit = self._limit
        if not isinstance(limit, NumberLimit) or self._key is not None or self._share != 1.0:
            return partial(_shells.coroutine, self)
        if self._max_waiting_time:
            return partial(_shells.waiting_room, self, limit)
        return partial(_shells.fail_fast, self, limit)

    def _new_loop_slots(self) -> LoopSlots:
        return LoopSlots(get_running_loop(), self._limit.on_loop(), self._max_waiting_time, self._max_waiting_calls)


def _check_callable(name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function, but got {value!r}")
    if is_coroutine_function(value):
        raise TypeError(f"{name} must be a function that is not a coroutine function, but got {value!r}")
