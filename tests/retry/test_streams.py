"""Async generator functions: retried until the first item, passed through after that."""

import asyncio
import contextlib
import gc
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from dike_retry import FailedAttempt, RetryBudget, no_delay, retry


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_stream_comes_out_item_by_item() -> None:
    @retry()
    async def numbers(count: int, *, start: int) -> AsyncIterator[int]:
        for number in range(start, start + count):
            yield number

    assert inspect.isasyncgenfunction(numbers)
    assert [number async for number in numbers(3, start=5)] == [5, 6, 7]
    assert [number async for number in numbers(0, start=5)] == []


async def test_it_is_retried_until_the_first_item() -> None:
    started = []

    @retry(delay=1, backoff=2)
    async def stream() -> AsyncIterator[str]:
        started.append(now())
        if len(started) < 4:
            raise KeyError
        yield "first"
        yield "second"

    assert [item async for item in stream()] == ["first", "second"]
    assert started == [0, 1, 3, 7]


async def test_after_the_first_item_an_error_goes_to_the_consumer() -> None:
    calls = 0
    failed: list[FailedAttempt] = []

    @retry(on_failure=failed.append)
    async def stream() -> AsyncIterator[int]:
        nonlocal calls
        calls += 1
        yield calls
        raise KeyError

    items = stream()
    assert await anext(items) == 1
    with pytest.raises(KeyError) as info:
        await anext(items)
    assert calls == 1
    assert not failed
    assert not hasattr(info.value, "__notes__")


async def test_giving_up_raises_the_last_error() -> None:
    @retry(attempts=2)
    async def stream() -> AsyncIterator[int]:
        raise KeyError
        yield 1

    with pytest.raises(KeyError) as info:
        await anext(stream())
    assert info.value.__notes__[0].endswith("stream after 2 attempts (attempts)")


async def test_nothing_happens_before_the_first_item_is_asked_for() -> None:
    calls = 0

    @retry(timeout=1)
    async def stream() -> AsyncIterator[int]:
        nonlocal calls
        calls += 1
        yield 1

    items = stream()
    await asyncio.sleep(10)
    assert calls == 0
    assert await anext(items) == 1


async def test_the_timeout_covers_the_time_to_the_first_item() -> None:
    @retry(timeout=3, delay=1)
    async def stream() -> AsyncIterator[int]:
        await asyncio.sleep(2)
        yield 1
        await asyncio.sleep(100)
        yield 2

    items = stream()
    assert await anext(items) == 1
    await asyncio.sleep(100)
    assert [item async for item in items] == [2]


async def test_an_attempt_in_flight_at_the_deadline_is_cancelled() -> None:
    errors = []
    cleaned = []

    @retry(timeout=3, delay=1)
    async def stream() -> AsyncIterator[int]:
        if not errors:
            errors.append(KeyError())
            raise errors[0]
        try:
            await asyncio.sleep(100)
        finally:
            cleaned.append(now())
        yield 1

    with pytest.raises(TimeoutError) as info:
        await anext(stream())
    assert info.value.__cause__ is errors[0]
    assert cleaned == [3]


async def test_a_cancellation_from_outside_comes_out() -> None:
    @retry(timeout=3, delay=10)
    async def stream() -> AsyncIterator[int]:
        await asyncio.sleep(2)
        yield 1

    async def first() -> int:
        return await anext(stream())

    task = asyncio.create_task(first())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("items", [[], [1], [1, 2, 3]])
async def test_a_first_item_or_the_end_of_an_empty_stream_deposits_once(items: list[int]) -> None:
    budget = RetryBudget(ratio=0.5, capacity=4)
    attempts = 0

    @retry(budget=budget)
    async def stream() -> AsyncIterator[int]:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise KeyError
        for item in items:
            yield item
            assert budget.balance == 2.5

    assert [item async for item in stream()] == items
    assert budget.balance == 2.5


async def test_no_delay_holds_for_streams() -> None:
    calls = 0

    @retry(delay=3600)
    async def stream() -> AsyncIterator[int]:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise KeyError
        yield 1

    with no_delay():
        assert [item async for item in stream()] == [1]
    assert now() == 0


async def echo() -> AsyncGenerator[object, object]:
    """Yield what was sent or thrown before; end on `None`."""
    got: object = "ready"
    while True:
        try:
            got = yield got
        except KeyError as exc:
            got = exc
        if got is None:
            return


async def test_what_is_sent_reaches_the_function() -> None:
    stream = retry()(echo)()
    assert await stream.asend(None) == "ready"
    assert await stream.asend(1) == 1
    assert await stream.asend([2]) == [2]
    with pytest.raises(StopAsyncIteration):
        await stream.asend(None)
    with pytest.raises(StopAsyncIteration):
        await stream.asend(None)


async def test_what_is_thrown_reaches_the_function() -> None:
    stream = retry()(echo)()
    await anext(stream)
    error = KeyError()
    assert await stream.athrow(error) is error
    assert await stream.asend(1) == 1
    with pytest.raises(ConnectionError):
        await stream.athrow(ConnectionError())
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_the_first_send_must_be_none_as_ever() -> None:
    stream = retry()(echo)()
    with pytest.raises(TypeError, match="can't send non-None value to a just-started async generator"):
        await stream.asend(1)


async def test_a_thrown_exception_that_was_handled_is_no_context_of_later_ones() -> None:
    @retry()
    async def stream() -> AsyncGenerator[int, None]:
        with contextlib.suppress(KeyError):
            yield 1
        await asyncio.sleep(0)
        raise ConnectionError

    items = stream()
    await anext(items)
    with pytest.raises(ConnectionError) as info:
        await items.athrow(KeyError())
    assert info.value.__context__ is None


Ending = Callable[[AsyncGenerator[int, None]], Awaitable[object]]


async def outcome_of(stream: AsyncGenerator[int, None], end: Ending) -> str:
    try:
        return repr(await end(stream))
    except BaseException as exc:
        return repr(exc)


async def list_of(stream: AsyncGenerator[int, None]) -> list[int]:
    return [item async for item in stream]


async def ends_well() -> AsyncGenerator[int, None]:
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)


async def refuses_to_end() -> AsyncGenerator[int, None]:
    for number in range(4):
        try:
            yield number
        except BaseException:
            await asyncio.sleep(0)


async def fails_at_the_end() -> AsyncGenerator[int, None]:
    try:
        yield 1
    finally:
        raise KeyError("at the end")


async def returns_when_told_to_end() -> AsyncGenerator[int, None]:
    try:
        yield 1
    except BaseException:
        await asyncio.sleep(0)


@pytest.mark.parametrize("func", [ends_well, refuses_to_end, fails_at_the_end, returns_when_told_to_end])
@pytest.mark.parametrize("items_before", [0, 1])
@pytest.mark.parametrize(
    "end",
    [
        lambda stream: stream.aclose(),
        lambda stream: stream.athrow(GeneratorExit()),
        lambda stream: stream.athrow(asyncio.CancelledError()),
        lambda stream: stream.athrow(ConnectionError("thrown")),
        lambda stream: stream.athrow(StopAsyncIteration("thrown")),
        lambda stream: stream.athrow(StopIteration("thrown")),
    ],
)
async def test_however_it_is_ended_the_outcome_is_as_without_retry(func: Any, items_before: int, end: Ending) -> None:
    outcomes = []
    for each in (func, retry(attempts=2)(func), retry(timeout=10)(func)):
        stream = each()
        for _ in range(items_before):
            await anext(stream)
        outcomes.append([await outcome_of(stream, end), await outcome_of(stream, list_of)])
    assert outcomes[0] == outcomes[1] == outcomes[2]


async def test_closing_closes_the_function_before_it_returns() -> None:
    closed = []

    @retry()
    async def stream() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            closed.append(now())

    items = stream()
    await anext(items)
    await items.aclose()
    assert closed == [1]


async def test_a_stream_left_alone_is_closed_by_the_loop() -> None:
    closed = []

    @retry()
    async def stream() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            closed.append(now())

    await anext(stream())
    gc.collect()
    await asyncio.sleep(1)
    assert closed == [0]


async def test_a_stream_may_be_read_in_other_tasks_than_the_first() -> None:
    @retry(timeout=1)
    async def stream() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number
            await asyncio.sleep(1)

    items = stream()

    async def read() -> int:
        return await anext(items)

    assert [await asyncio.create_task(read()) for _ in range(3)] == [0, 1, 2]


async def test_items_are_not_kept() -> None:
    class Item:
        alive = 0

        def __init__(self) -> None:
            Item.alive += 1

        def __del__(self) -> None:
            Item.alive -= 1

    alive = []

    @retry()
    async def stream() -> AsyncGenerator[Item, None]:
        for _ in range(3):
            yield Item()
            alive.append(Item.alive)

    async for item in stream():
        del item
    assert alive == [0, 0, 0]


def test_a_stream_left_at_the_end_of_the_event_loop_cleans_up_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    cleaned = []

    @retry()
    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    async def main() -> Any:
        left = stream()
        await anext(left)
        return left

    # The event loop closes its generators at the same time, in any order.
    kept = [asyncio.run(main()) for _ in range(10)]
    assert len(cleaned) == len(kept)
    assert not caplog.records
