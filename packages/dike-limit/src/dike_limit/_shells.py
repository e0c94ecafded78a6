"""What runs around a limited function.

All could be the general shell for coroutine functions, `coroutine`. Those before it do the same for the common cases in
a fraction of the time.
"""

from collections.abc import AsyncGenerator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ._call import opening_and_function
from ._limit import NumberLimit
from ._too_many_calls import refusal

if TYPE_CHECKING:
    from ._limiter import JobLimiter


def fail_fast(limiter: "JobLimiter", limit: NumberLimit, func: Any) -> Any:
    """Return the shell of a coroutine function whose limit is a number, with no further options."""
    loops = limiter._loops
    opening, function = opening_and_function(func)

    async def limited(*args: Any, **kwargs: Any) -> Any:
        slots = loops.last
        if slots.runner._thread_id != get_ident():
            slots = loops.here()
        admitted = slots.admitted
        if admitted >= slots.admissible:
            slots.rejected += 1
            raise refusal(opening + limit.exceeded, function, limit.given, slots.in_flight, 0)
        slots.admitted = admitted + 1
        try:
            return await (func(*args, **kwargs) if kwargs else func(*args))
        finally:
            slots.admissible += 1

    return limited


def waiting_room(limiter: "JobLimiter", limit: NumberLimit, func: Any) -> Any:
    """Return the shell of a coroutine function whose limit is a number, with a waiting room, for calls all alike."""
    loops = limiter._loops
    opening, function = opening_and_function(func)

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
                slots.rejected += 1
                raise refusal(opening + limit.exceeded, function, limit.given, slots.in_flight, slots.waiting)
            slots.admissible += 1
        slots.admitted += 1
        try:
            return await (func(*args, **kwargs) if kwargs else func(*args))
        finally:
            slots.admissible += 1
            if slots.waiting:
                slots.hand_over()

    return limited


def coroutine(limiter: "JobLimiter", func: Any) -> Any:
    """Return the shell of a coroutine function."""
    call = limiter._limit.call

    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with call(limiter, args, kwargs, func):
            return await func(*args, **kwargs)

    return limited


def async_generator(limiter: "JobLimiter", func: Any) -> Any:
    """Return the shell of an async generator function."""
    call = limiter._limit.call

    async def limited(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        async with call(limiter, args, kwargs, func, is_stream=True):
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
