"""The deadline of a call, and its races."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from dike_retry import FailedAttempt, retry


def now() -> float:
    return asyncio.get_running_loop().time()


async def hang() -> None:
    await asyncio.sleep(1000)


@pytest.mark.parametrize("timeout", [2, 2.0, timedelta(seconds=2)])
async def test_an_attempt_in_flight_at_the_deadline_is_cancelled(timeout: Any) -> None:
    cancelled_at = None

    @retry(timeout=timeout)
    async def func() -> None:
        nonlocal cancelled_at
        try:
            await hang()
        except asyncio.CancelledError:
            cancelled_at = now()
            raise

    with pytest.raises(TimeoutError) as info:
        await func()
    assert cancelled_at == now() == 2
    assert type(info.value) is TimeoutError
    assert info.value.__cause__ is None
    assert isinstance(info.value.__context__, asyncio.CancelledError)


async def test_the_deadline_is_for_all_attempts_and_sleeps_together() -> None:
    started = []

    @retry(timeout=10, delay=2, exception_types=OSError)
    async def func() -> None:
        started.append(now())
        await asyncio.sleep(1)
        if len(started) < 4:
            raise OSError
        await hang()

    with pytest.raises(TimeoutError):
        await func()
    assert started == [0, 3, 6, 9]
    assert now() == 10


async def test_the_timeout_error_has_the_last_failure_as_its_cause() -> None:
    errors = [OSError("first"), OSError("second")]
    left = iter(errors)

    @retry(timeout=10, delay=1)
    async def func() -> None:
        for error in left:
            raise error
        await hang()

    with pytest.raises(TimeoutError, match=r"func took longer than 10s") as info:
        await func()
    assert info.value.__cause__ is errors[1]


@pytest.mark.parametrize(("timeout", "calls"), [(2.75, 2), (3, 2), (3.25, 3)])
async def test_a_sleep_that_would_end_at_or_after_the_deadline_is_not_begun(
    script: Any, timeout: float, calls: int
) -> None:
    errors = [ConnectionError(i) for i in range(5)]
    func = script(*errors)
    with pytest.raises(ConnectionError) as info:
        await retry(timeout=timeout, delay=1.5)(func)()
    assert info.value is errors[calls - 1]
    assert func.calls == calls
    assert now() == 1.5 * (calls - 1)


async def test_a_success_in_time_is_returned_and_leaves_no_timer() -> None:
    @retry(timeout=5)
    async def func() -> str:
        await asyncio.sleep(4)
        return "done"

    assert await func() == "done"
    await asyncio.sleep(10)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_infinite_timeout_is_none(script: Any) -> None:
    assert await retry(timeout=math.inf, delay=1e6)(script(OSError(), "done"))() == "done"


async def test_a_timeout_error_of_the_function_itself_is_retried(script: Any) -> None:
    func = script(TimeoutError("mine"), TimeoutError("mine"), "done")
    assert await retry(timeout=10, delay=1)(func)() == "done"
    assert func.calls == 3


async def test_a_timeout_error_of_asyncio_timeout_inside_the_function_is_retried() -> None:
    calls = 0

    @retry(timeout=10)
    async def func() -> str:
        nonlocal calls
        calls += 1
        async with asyncio.timeout(1):
            if calls < 3:
                await hang()
        return "done"

    assert await func() == "done"
    assert now() == 2


@pytest.mark.parametrize("types", [OSError, TimeoutError, Exception, BaseException])
async def test_the_timeout_error_of_the_deadline_comes_out_whatever_exception_types_says(types: Any) -> None:
    calls = 0

    @retry(timeout=1, exception_types=types)
    async def func() -> None:
        nonlocal calls
        calls += 1
        await hang()

    with pytest.raises(TimeoutError):
        await func()
    assert calls == 1


async def test_an_error_made_of_the_deadlines_cancellation_comes_out_and_ends_the_call() -> None:
    failed: list[FailedAttempt] = []
    calls = 0

    @retry(timeout=1, on_failure=failed.append)
    async def func() -> None:
        nonlocal calls
        calls += 1
        try:
            await hang()
        except asyncio.CancelledError:
            raise ConnectionError("closed") from None

    with pytest.raises(ConnectionError):
        await func()
    assert calls == 1
    assert [(each.attempt, each.gave_up, each.delay) for each in failed] == [(1, "timeout", None)]
    await asyncio.sleep(1)  # not cancelled


async def test_the_call_ends_with_its_deadline_even_if_the_timer_goes_off_early() -> None:
    loop: Any = asyncio.get_running_loop()
    loop._clock_resolution = 0.5  # Timers go off up to this early.
    calls = 0

    @retry(timeout=1)
    async def func() -> None:
        nonlocal calls
        calls += 1
        loop.call_at(0.75, lambda: None)  # so that the loop looks at its timers then
        try:
            await hang()
        except asyncio.CancelledError:
            raise ConnectionError from None

    with pytest.raises(ConnectionError):
        await func()
    assert now() == 0.75
    assert calls == 1


async def test_an_error_of_another_type_made_of_the_deadlines_cancellation_comes_out() -> None:
    @retry(timeout=1, exception_types=OSError)
    async def func() -> None:
        try:
            await hang()
        except asyncio.CancelledError:
            raise KeyError("closed") from None

    with pytest.raises(KeyError):
        await func()
    await asyncio.sleep(1)


async def test_a_function_that_swallows_the_deadlines_cancellation_may_return() -> None:
    @retry(timeout=1)
    async def func() -> str:
        try:
            await hang()
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "done"

    assert await func() == "done"
    await asyncio.sleep(1)


async def test_a_function_that_swallows_the_deadlines_cancellation_and_fails_later_is_not_called_again() -> None:
    calls = 0

    @retry(timeout=1)
    async def func() -> None:
        nonlocal calls
        calls += 1
        try:
            await hang()
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await func()
    assert calls == 1


async def test_cleaning_up_after_the_deadline_may_take_its_time() -> None:
    @retry(timeout=1)
    async def func() -> None:
        try:
            await hang()
        finally:
            await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        await func()
    assert now() == 6


async def cancelled_from_outside(call: Callable[[], Awaitable[object]], *instants: float) -> BaseException | None:
    """Run `call` in a task, cancel it at these times, and return what came out."""
    task = asyncio.ensure_future(call())
    for instant in instants:
        asyncio.get_running_loop().call_at(instant, task.cancel)
    await asyncio.wait([task])
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception()


@pytest.mark.parametrize("instant", [0.5, 1, 1.5, 1.75])
@pytest.mark.parametrize("types", [Exception, BaseException])
async def test_a_cancellation_from_outside_wins_before_at_and_after_the_deadline(types: Any, instant: float) -> None:
    @retry(timeout=1, exception_types=types)
    async def func() -> None:
        try:
            await hang()
        finally:
            await asyncio.sleep(1)

    assert isinstance(await cancelled_from_outside(func, instant), asyncio.CancelledError)


async def test_a_cancellation_from_outside_wins_in_the_same_moment_in_either_order() -> None:
    @retry(timeout=1)
    async def func() -> None:
        await hang()

    for early in (True, False):
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(func())
        if early:
            loop.call_later(1, task.cancel)  # set before the deadline's own timer
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0)
            loop.call_later(1, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()


async def test_a_cancellation_that_the_function_swallowed_still_wins_at_the_deadline() -> None:
    @retry(timeout=2)
    async def func() -> None:
        try:
            await hang()
        except asyncio.CancelledError:
            await hang()

    assert isinstance(await cancelled_from_outside(func, 1), asyncio.CancelledError)


async def test_a_cancellation_that_the_function_raises_by_itself_is_no_timeout() -> None:
    @retry(timeout=1)
    async def func() -> None:
        raise asyncio.CancelledError("mine")

    with pytest.raises(asyncio.CancelledError, match="mine"):
        await func()


async def test_cleaning_up_in_a_cancelled_task_has_a_deadline_too() -> None:
    @retry(timeout=1)
    async def clean_up() -> None:
        await hang()

    caught = []

    async def main() -> None:
        try:
            await hang()
        finally:
            try:
                await clean_up()
            except TimeoutError as exc:
                caught.append(exc)

    assert isinstance(await cancelled_from_outside(main, 1), asyncio.CancelledError)
    assert len(caught) == 1
    assert now() == 2


@pytest.mark.parametrize(("outer", "inner"), [(1, 2), (2, 1), (1, 1)])
async def test_of_nested_deadlines_the_earlier_ends_the_attempt(outer: float, inner: float) -> None:
    calls = 0

    @retry(timeout=inner)
    async def func() -> None:
        nonlocal calls
        calls += 1
        await hang()

    @retry(timeout=outer)
    async def again() -> None:
        await func()

    with pytest.raises(TimeoutError, match="again took longer"):
        await again()
    assert now() == outer
    assert calls == math.ceil(outer / inner)


@pytest.mark.parametrize(("outer", "raised_by_us"), [(1, False), (3, True), (2, False)])
async def test_asyncio_timeout_around_the_call_works(outer: float, raised_by_us: bool) -> None:
    @retry(timeout=2)
    async def func() -> None:
        await hang()

    with pytest.raises(TimeoutError) as info:
        async with asyncio.timeout(outer):
            await func()
    assert ("func took longer" in str(info.value)) == raised_by_us
    await asyncio.sleep(1)


async def test_the_cancellation_by_a_task_group_works_together_with_the_deadline() -> None:
    @retry(timeout=2)
    async def func() -> None:
        await hang()

    async def fail() -> None:
        await asyncio.sleep(1)
        raise KeyError

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await func()

    with pytest.raises(ExceptionGroup) as info:
        await together()
    assert isinstance(info.value.exceptions[0], KeyError)
    assert now() == 1


async def test_a_deadline_met_in_an_overlong_sleep_raises_the_last_error_again(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = asyncio.sleep

    async def overlong(delay: float) -> None:
        await sleep(2 * delay)

    monkeypatch.setattr(asyncio, "sleep", overlong)
    failed: list[FailedAttempt] = []
    error = ConnectionError()
    func = script(error, "done")
    with pytest.raises(ConnectionError) as info:
        await retry(timeout=3, delay=2, on_failure=failed.append)(func)()
    assert info.value is error
    assert info.value.__context__ is None
    assert func.calls == 1
    assert [(each.attempt, each.delay, each.elapsed, each.gave_up) for each in failed] == [
        (1, 2, 0, None),
        (1, None, 4, "timeout"),
    ]


async def test_concurrent_calls_have_deadlines_of_their_own() -> None:
    @retry(timeout=2)
    async def func(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def later() -> float:
        await asyncio.sleep(1)
        return await func(1.5)

    results = await asyncio.gather(func(1), func(3), later(), return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], TimeoutError)
    assert results[2] == 1.5


def test_a_deadline_needs_a_task() -> None:
    @retry(timeout=1)
    async def func() -> None: ...

    outcome: list[BaseException] = []

    async def main() -> None:
        def by_hand() -> None:
            try:
                func().send(None)
            except RuntimeError as exc:
                outcome.append(exc)

        asyncio.get_running_loop().call_soon(by_hand)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert str(outcome[0]) == "retry with a timeout must be used inside a task"


@pytest.mark.parametrize(("options", "reads"), [({}, False), ({"timeout": 9}, True), ({"on_failure": print}, True)])
def test_without_timeout_and_hook_no_clock_is_read(options: dict[str, Any], reads: bool) -> None:
    class WatchedClock(asyncio.SelectorEventLoop):
        read_by_task = False

        def time(self) -> float:
            # The loop itself reads it too, but not in a task.
            self.read_by_task = self.read_by_task or asyncio.tasks.current_task(self) is not None
            return super().time()

    outcomes = iter([True, True, False])

    @retry(attempts=5, **options)
    async def func() -> None:
        if next(outcomes):
            raise OSError

    with asyncio.Runner(loop_factory=WatchedClock) as runner:
        runner.run(func())
        loop = runner.get_loop()
    assert isinstance(loop, WatchedClock)
    assert loop.read_by_task == reads
