"""The limit itself: what users of the older dike rely on, and what it had wrong."""

import asyncio
import math
from fractions import Fraction
from typing import Any

import pytest
from dike_limit import TooManyCalls, limit_jobs
from limit.jobs import Jobs, count_free, settle


async def test_a_call_returns_what_the_function_returns() -> None:
    @limit_jobs(limit=1)
    async def func(*args: object, **kwargs: object) -> object:
        return args, kwargs

    assert await func(1, 2, key=3) == ((1, 2), {"key": 3})


async def test_as_many_calls_run_as_the_limit_says_and_no_more() -> None:
    jobs = Jobs(limit_jobs(limit=3))
    await jobs.start(*range(5))
    assert jobs.started == [0, 1, 2]
    assert jobs.is_refused(3)
    assert jobs.is_refused(4)


@pytest.mark.parametrize("limit", [2, 2.5, 2.0, Fraction(5, 2)])
async def test_the_text_of_a_refusal_names_the_function_and_the_limit_as_it_was_given(limit: Any) -> None:
    jobs = Jobs(limit_jobs(limit=limit))
    await jobs.start(1, 2)
    with pytest.raises(TooManyCalls) as info:
        await jobs.job(3)
    assert str(info.value) == f"Too many calls to function job! limit={limit} exceeded"


async def test_a_limit_of_zero_refuses_all() -> None:
    jobs = Jobs(limit_jobs(limit=0))
    await jobs.start(1)
    assert jobs.is_refused(1)


async def test_an_infinite_limit_refuses_none() -> None:
    limiter = limit_jobs(limit=math.inf)
    jobs = Jobs(limiter)
    await jobs.start(*range(200))
    assert limiter.in_flight == len(jobs.started) == 200
    await jobs.end(*range(200))
    assert limiter.in_flight == 0


@pytest.mark.parametrize(
    ("limit", "slots"),
    [
        (0.5, 0),
        (0.999, 0),
        (1 - 1e-10, 1),
        (1.5, 1),
        (2.5, 2),
        (2.999, 2),
        (100 * 0.29, 29),
        (3 - 1e-8, 2),
        (Fraction(7, 2), 3),
    ],
)
async def test_of_a_fraction_the_whole_part_counts(limit: Any, slots: int) -> None:
    assert await count_free(limit_jobs(limit=limit)) == slots
    assert await count_free(limit_jobs(limit=limit, share=lambda: 1)) == slots


async def test_the_slot_is_free_again_after_a_result_an_error_and_a_cancellation() -> None:
    limiter = limit_jobs(limit=1)

    @limiter
    async def func(error: BaseException | None) -> None:
        await asyncio.sleep(1)
        if error:
            raise error

    await func(None)
    for error in (ValueError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            await asyncio.create_task(func(error)) if isinstance(error, Exception) else await func(error)
        assert limiter.in_flight == 0
    task = asyncio.create_task(func(None))
    await settle()
    assert limiter.in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert limiter.in_flight == 0
    await func(None)


async def test_the_slot_is_taken_when_the_coroutine_first_runs() -> None:
    limiter = limit_jobs(limit=1)
    jobs = Jobs(limiter)
    early = jobs.job("early")
    assert limiter.in_flight == 0
    await jobs.start("late")
    assert jobs.started == ["late"]
    with pytest.raises(TooManyCalls):
        await early


@pytest.mark.parametrize("options", [{}, {"max_waiting_time": 1}, {"key": lambda name: 1}])
async def test_a_coroutine_that_never_runs_takes_no_slot(options: Any) -> None:
    limiter = limit_jobs(limit=1, **options)
    jobs = Jobs(limiter)
    jobs.job("never").close()
    task = asyncio.create_task(jobs.job("cancelled before its start"))
    task.cancel()
    await settle()
    assert limiter.in_flight == 0
    assert limiter.admitted == 0


@pytest.mark.parametrize("options", [{}, {"max_waiting_time": 1}, {"key": lambda name: 1}])
async def test_a_coroutine_that_is_closed_unfinished_frees_its_slot(options: Any) -> None:
    limiter = limit_jobs(limit=1, **options)
    coroutine = Jobs(limiter).job("closed")
    coroutine.send(None)
    assert limiter.in_flight == 1
    coroutine.close()
    assert limiter.in_flight == 0


@pytest.mark.parametrize("options", [{}, {"max_waiting_time": 1}, {"key": lambda *args: 1}])
async def test_a_call_with_wrong_arguments_fails_and_takes_no_slot_with_it(options: Any) -> None:
    limiter = limit_jobs(limit=1, **options)

    @limiter
    async def func() -> None: ...

    with pytest.raises(TypeError, match="unexpected keyword"):
        await func(a=1)  # type: ignore[call-arg]
    assert limiter.in_flight == 0
    await func()


async def test_functions_under_one_limiter_share_its_slots() -> None:
    limiter = limit_jobs(limit=3)
    first, second = Jobs(limiter), Jobs(limiter)

    @limiter
    async def stream() -> Any:
        yield 1

    await first.start(1, 2)
    async with limiter.slot():
        await second.start(3)
        with pytest.raises(TooManyCalls, match="function stream!"):
            await anext(stream())
    await second.start(4)
    assert (first.started, second.started) == ([1, 2], [4])


async def test_calls_of_itself_need_slots_of_their_own() -> None:
    @limit_jobs(limit=3)
    async def nested(depth: int) -> int:
        return depth if depth == 0 else await nested(depth - 1)

    assert await nested(2) == 0
    with pytest.raises(TooManyCalls):
        await nested(3)
