"""Async generator functions hold their slot as long as the stream lasts."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from dike_limit import JobLimiter, TooManyCalls, limit_jobs
from limit.jobs import settle


def numbers_under(limiter: JobLimiter) -> Any:
    @limiter
    async def numbers(count: int, error: Exception | None = None) -> AsyncGenerator[int, None]:
        for number in range(count):
            await asyncio.sleep(0)
            yield number
        if error:
            raise error

    return numbers


async def test_the_items_are_those_of_the_function() -> None:
    numbers = numbers_under(limit_jobs(limit=1))
    assert [number async for number in numbers(3)] == [0, 1, 2]
    assert [number async for number in numbers(0)] == []


async def test_the_slot_is_held_from_the_first_item_asked_for_until_the_stream_is_exhausted() -> None:
    limiter = limit_jobs(limit=1)
    stream = numbers_under(limiter)(2)
    assert limiter.in_flight == 0
    assert await anext(stream) == 0
    assert limiter.in_flight == 1
    assert await anext(stream) == 1
    assert limiter.in_flight == 1
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert limiter.in_flight == 0
    assert limiter.admitted == 1


async def test_the_slot_is_held_while_the_first_item_is_made() -> None:
    limiter = limit_jobs(limit=1)

    @limiter
    async def slow() -> AsyncGenerator[int, None]:
        await asyncio.sleep(1)
        yield 1

    first = asyncio.ensure_future(anext(slow()))
    await settle()
    assert limiter.in_flight == 1
    with pytest.raises(TooManyCalls, match="function slow!"):
        await anext(slow())
    assert await first == 1


async def test_the_slot_is_not_freed_before_a_streamed_body_has_been_streamed() -> None:
    """Whoever decorates the handler, and not the generator, frees it too early."""
    limiter = limit_jobs(limit=1)
    numbers = numbers_under(limiter)
    async for _ in numbers(3):
        with pytest.raises(TooManyCalls):
            await anext(numbers(1))
    assert [number async for number in numbers(1)] == [0]


async def test_a_stream_that_fails_frees_its_slot() -> None:
    limiter = limit_jobs(limit=1)
    error = ValueError()
    stream = numbers_under(limiter)(1, error)
    await anext(stream)
    assert limiter.in_flight == 1
    with pytest.raises(ValueError) as info:  # noqa: PT011
        await anext(stream)
    assert info.value is error
    assert limiter.in_flight == 0


async def test_a_stream_that_is_closed_frees_its_slot_and_its_function_cleans_up() -> None:
    limiter = limit_jobs(limit=1)
    events = []

    @limiter
    async def stream() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            events.append(limiter.in_flight)

    async with aclosing(stream()) as items:
        assert await anext(items) == 1
    assert events == [1]
    assert limiter.in_flight == 0
    await items.aclose()
    assert limiter.in_flight == 0


async def test_a_stream_that_is_dropped_frees_its_slot_when_it_is_collected() -> None:
    limiter = limit_jobs(limit=1)
    stream = numbers_under(limiter)(5)
    await anext(stream)
    del stream
    gc.collect()
    await settle()
    assert limiter.in_flight == 0


async def test_a_stream_that_is_never_started_takes_nothing() -> None:
    limiter = limit_jobs(limit=1)
    stream = numbers_under(limiter)(5)
    await stream.aclose()
    del stream
    numbers_under(limiter)(5)
    gc.collect()
    await settle()
    assert (limiter.in_flight, limiter.admitted, limiter.rejected) == (0, 0, 0)


async def test_a_cancelled_consumer_frees_the_slot() -> None:
    limiter = limit_jobs(limit=1)

    @limiter
    async def stuck() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(100)

    async def consume() -> None:
        async for _ in stuck():
            pass

    task = asyncio.create_task(consume())
    await settle()
    assert limiter.in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert limiter.in_flight == 0


async def test_what_is_sent_reaches_the_function() -> None:
    @limit_jobs(limit=1)
    async def echo() -> AsyncGenerator[Any, Any]:
        got = None
        while got != "end":
            got = yield got

    stream = echo()
    assert await stream.asend(None) is None
    assert await stream.asend("a") == "a"
    assert await stream.asend("b") == "b"
    with pytest.raises(StopAsyncIteration):
        await stream.asend("end")


async def test_what_is_thrown_reaches_the_function_which_may_go_on() -> None:
    limiter = limit_jobs(limit=1)

    @limiter
    async def stream() -> AsyncGenerator[Any, Any]:
        while True:
            try:
                yield "item"
            except KeyError as error:
                yield error

    items = stream()
    await anext(items)
    error = KeyError()
    assert await items.athrow(error) is error
    assert await anext(items) == "item"
    assert limiter.in_flight == 1
    with pytest.raises(ValueError, match="unexpected"):
        await items.athrow(ValueError("unexpected"))
    assert limiter.in_flight == 0


async def test_a_function_that_ends_on_what_is_thrown_ends_the_stream() -> None:
    limiter = limit_jobs(limit=1)

    @limiter
    async def stream() -> AsyncGenerator[Any, Any]:
        try:
            yield 1
        except KeyError:
            return

    items = stream()
    await anext(items)
    with pytest.raises(StopAsyncIteration):
        await items.athrow(KeyError())
    assert limiter.in_flight == 0


async def test_a_stop_iteration_that_is_thrown_behaves_as_without_a_limit() -> None:
    async def bare() -> AsyncGenerator[int, None]:
        yield 1

    texts = []
    for function in (bare, limit_jobs(limit=1)(bare)):
        items = function()
        await anext(items)
        with pytest.raises(RuntimeError) as info:
            await items.athrow(StopAsyncIteration())
        texts.append(str(info.value))
    assert texts[0] == texts[1]


async def test_a_function_that_ignores_being_closed_is_told_off_and_frees_its_slot() -> None:
    limiter = limit_jobs(limit=1)

    @limiter
    async def stubborn() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    items = stubborn()
    await anext(items)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await items.aclose()
    assert limiter.in_flight == 0


async def test_a_stream_may_wait_for_its_slot() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1)
    numbers = numbers_under(limiter)
    first, second, third = numbers(1), numbers(1), numbers(1)
    assert await anext(first) == 0
    waiting = asyncio.ensure_future(anext(second))
    await settle()
    assert limiter.waiting == 1
    with pytest.raises(TooManyCalls):
        await anext(third)
    await first.aclose()
    assert await waiting == 0


async def test_a_stream_cancelled_while_it_waits_leaves_the_queue() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1)
    numbers = numbers_under(limiter)
    first = numbers(1)
    await anext(first)
    waiting = asyncio.ensure_future(anext(numbers(1)))
    await settle()
    waiting.cancel()
    await settle()
    assert limiter.waiting == 0
    await first.aclose()
    assert limiter.in_flight == 0


async def test_the_key_and_share_of_a_stream_are_those_of_its_arguments() -> None:
    limiter = limit_jobs(limit=2, key=lambda key, share: key, share=lambda key, share: share)

    @limiter
    async def stream(key: str, share: float) -> AsyncGenerator[str, None]:
        yield key

    a = stream("a", 0.5)
    await anext(a)
    with pytest.raises(TooManyCalls):
        await anext(stream("a", 0.5))
    await anext(stream("b", 0.5))
    await anext(stream("a", 1))


async def test_a_stream_with_wrong_arguments_fails_and_takes_no_slot_with_it() -> None:
    limiter = limit_jobs(limit=1)
    with pytest.raises(TypeError):
        await anext(numbers_under(limiter)(1, 2, 3))
    assert limiter.in_flight == 0


def test_the_end_of_the_event_loop_ends_its_streams() -> None:
    limiter = limit_jobs(limit=1)

    async def main() -> Any:
        stream = numbers_under(limiter)(3)
        await anext(stream)
        return stream

    kept = asyncio.run(main())
    assert limiter.in_flight == 0
    assert kept is not None


def test_a_stream_left_at_the_end_of_the_event_loop_cleans_up_once_and_in_peace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiter = limit_jobs(limit=1)
    cleaned: list[int] = []

    @limiter
    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append(limiter.in_flight)

    async def main() -> Any:
        stream = numbers()
        await anext(stream)
        return stream

    # The event loop closes its generators at the same time, in any order.
    kept = [asyncio.run(main()) for _ in range(10)]
    assert cleaned == [1] * len(kept)
    assert not caplog.records
