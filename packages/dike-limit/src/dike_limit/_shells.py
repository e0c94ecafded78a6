"""What runs around a limited function.

`_any_coroutine` would do for all coroutine functions. Its two specializations for plain limits do the same in a
fraction of the time: they are on the path of every call of most users.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from math import floor
from threading import get_ident
from typing import Any

from ._loop_slots import LoopSlots
from ._rules import NumberLimit, Rules, opening_and_function
from ._too_many_calls import TooManyCalls, refusal


def coroutine(rules: Rules, func: Any) -> Any:
    """Return the shell of a coroutine function."""
    limit = rules.limit
    if not isinstance(limit, NumberLimit) or rules.key is not None or rules.share != 1.0:
        return _any_coroutine(rules, func)
    if rules.max_waiting_time:
        return _waiting_room(rules, limit, func)
    return _fail_fast(rules, limit, func)


def _fail_fast(rules: Rules, limit: NumberLimit, func: Any) -> Any:
    # For a number and no options.
    loops = rules.loops
    refuse = _refuser(limit, func)

    async def limited(*args: Any, **kwargs: Any) -> Any:
        slots = loops.last
        if slots.runner._thread_id != get_ident():
            slots = loops.here()
        admitted = slots.admitted
        if admitted >= slots.admissible:
            raise refuse(slots)
        slots.admitted = admitted + 1.0
        try:
            return await (func(*args, **kwargs) if kwargs else func(*args))
        finally:
            slots.admissible += 1.0

    return limited


def _waiting_room(rules: Rules, limit: NumberLimit, func: Any) -> Any:
    # For a number with a waiting room.
    loops = rules.loops
    refuse = _refuser(limit, func)

    async def limited(*args: Any, **kwargs: Any) -> Any:
        slots = loops.last
        if slots.runner._thread_id != get_ident():
            slots = loops.here()
        if slots.admitted >= slots.admissible:
            may_run = False
            if slots.waiting < slots.room:
                turn = slots.join(1.0)
                try:
                    may_run = await turn
                except BaseException:
                    slots.depart(turn)
                    raise
            if not may_run:
                raise refuse(slots)
            slots.admissible += 1.0
        slots.admitted += 1.0
        try:
            return await (func(*args, **kwargs) if kwargs else func(*args))
        finally:
            slots.admissible += 1.0
            if slots.waiting:
                slots.hand_over()

    return limited


def _any_coroutine(rules: Rules, func: Any) -> Any:
    call = rules.limit.call

    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with call(rules, args, kwargs, func):
            return await func(*args, **kwargs)

    return limited


def async_generator(rules: Rules, func: Any) -> Any:
    """Return the shell of an async generator function."""
    call = rules.limit.call

    async def limited(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        async with call(rules, args, kwargs, func, is_stream=True):
            items = func(*args, **kwargs)
            try:
                item = await _first(items)
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


def _first(items: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    # What `anext` does, except that the event loop does not get to know the generator: at its end it would close it at
    # the same time as we do, and complain.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return anext(items)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _refuser(limit: NumberLimit, func: Any) -> Callable[[LoopSlots], TooManyCalls]:
    # Apart, so that the shell of a call that is admitted has few free variables, each of which costs a little.
    opening, function = opening_and_function(func)

    def refuse(slots: LoopSlots) -> TooManyCalls:
        slots.rejected += 1
        # What the property of that name does, in half the time.
        in_flight = floor(slots.ceiling + slots.admitted - slots.admissible)
        return refusal(opening + limit.exceeded, function, limit.given, in_flight, slots.waiting)

    return refuse
