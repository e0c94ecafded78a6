"""What a limiter has been told, and its slots."""

from asyncio import get_running_loop
from collections.abc import Callable
from typing import Any

from . import _options
from ._call import checked_share
from ._functions import is_async_generator_function, is_coroutine_function
from ._limit import Limit, NumberLimit
from ._loop_slots import EachLoopSlots, LoopSlots
from ._options import timedelta


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
        self.max_waiting_time = _options.seconds("max_waiting_time", max_waiting_time)
        _options.require(self.max_waiting_time >= 0, "max_waiting_time", ">= 0", max_waiting_time)
        if max_waiting_calls is not None:
            number = _options.number("max_waiting_calls", max_waiting_calls)
            _options.require(number >= 0, "max_waiting_calls", ">= 0", max_waiting_calls)
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
            self.limit = limit
        else:
            try:
                self.limit = NumberLimit(limit)
            except ValueError as error:
                raise ValueError("Error when wrapping f(). Limit must be >= 0!") from error
        self.loops = EachLoopSlots(self._new_loop_slots)

    def _new_loop_slots(self) -> LoopSlots:
        return LoopSlots(get_running_loop(), self.limit.on_loop(), self.max_waiting_time, self._max_waiting_calls)


def _check_function(name: str, value: Any) -> None:
    if not callable(value) or is_coroutine_function(value) or is_async_generator_function(value):
        raise TypeError(f"{name} must be a function, and not an async one, but got {value!r}")
