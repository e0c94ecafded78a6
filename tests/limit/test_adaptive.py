"""AdaptiveLimit on a limiter: what it measures, and what the limiter shows of it."""

import asyncio
import contextlib
import gc
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import virtual_clock
from dike_limit import AdaptiveLimit, JobLimiter, TooManyCalls, limit_jobs


async def keep_calling(call: Callable[[], Awaitable[Any]], callers: int, seconds: float) -> None:
    """Let so many callers call, over and over, for so many seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def caller() -> None:
        while loop.time() < end:
            try:
                await call()
            except TooManyCalls:
                await asyncio.sleep(0.2)
            except (OSError, TimeoutError):
                pass

    await asyncio.gather(*(caller() for _ in range(callers)))


def quick_service(limiter: JobLimiter, seconds: float = 0.05) -> Callable[[], Awaitable[None]]:
    """Return a limited function that takes the same time however many call it."""

    @limiter
    async def service() -> None:
        await asyncio.sleep(seconds)

    return service


def queueing_service(limiter: JobLimiter, workers: int, seconds: float = 0.05) -> Callable[[], Awaitable[None]]:
    """Return a limited function with a queue inside."""
    semaphore = asyncio.Semaphore(workers)

    @limiter
    async def service() -> None:
        async with semaphore:
            await asyncio.sleep(seconds)

    return service


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min": 0}, "0"),
        ({"min": 0.5}, "0.5"),
        ({"min": math.nan}, "nan"),
        ({"min": "1"}, "'1'"),
        ({"initial": 3, "min": 5}, "3"),
        ({"initial": 30, "max": 25}, "25"),
        ({"initial": math.inf, "max": math.inf}, "inf"),
        ({"initial": True}, "True"),
        ({"max": None}, "None"),
        ({"drop_on": "TimeoutError"}, "'TimeoutError'"),
        ({"drop_on": (TimeoutError, 1)}, "1"),
        ({"drop_on": asyncio.CancelledError}, "CancelledError"),
        ({"drop_on": (BaseException,)}, "BaseException"),
    ],
)
def test_a_wrong_option_is_refused_with_its_value_in_the_message(options: dict[str, Any], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=named):
        AdaptiveLimit(**options)


def test_all_options_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        AdaptiveLimit(20)  # type: ignore[misc]


def test_min_and_max_may_be_the_same_and_max_may_be_infinite() -> None:
    AdaptiveLimit(initial=5, min=5, max=5)
    AdaptiveLimit(max=math.inf)


def test_one_object_serves_one_limiter() -> None:
    limit = AdaptiveLimit()
    limit_jobs(limit=limit)
    with pytest.raises(ValueError, match="serves another limiter"):
        limit_jobs(limit=limit)


def test_a_key_is_refused_and_leaves_the_object_free() -> None:
    limit = AdaptiveLimit()
    with pytest.raises(ValueError, match="key"):
        limit_jobs(limit=limit, key=lambda tenant: tenant)
    limit_jobs(limit=limit)


async def test_the_limit_begins_as_initial() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=3))
    service = quick_service(limiter)
    assert limiter.limit == 3
    results = await asyncio.gather(*(service() for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 3 + [TooManyCalls] * 2
    assert str(results[-1]) == "Too many calls to function service! limit=3 exceeded"


def test_the_limit_can_be_read_outside_a_loop() -> None:
    assert limit_jobs(limit=AdaptiveLimit(initial=3)).limit == 3


def test_the_limit_cannot_be_set() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())
    with pytest.raises(AttributeError):
        limiter.limit = 5


async def test_the_limit_grows_while_it_is_used_up_and_calls_do_not_queue() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())
    await keep_calling(quick_service(limiter), callers=100, seconds=15)
    assert limiter.limit >= 100


async def test_the_limit_does_not_pass_max() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(max=33))
    await keep_calling(quick_service(limiter), callers=100, seconds=10)
    assert limiter.limit == 33


async def test_the_limit_stays_while_less_than_half_of_it_is_used() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())
    await keep_calling(quick_service(limiter), callers=9, seconds=10)
    assert limiter.limit == 20


async def test_the_limit_falls_to_what_the_service_can_do_and_a_little_more() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=100))
    await keep_calling(queueing_service(limiter, workers=20), callers=200, seconds=40)
    assert 20 <= limiter.limit <= 32


async def test_the_limit_is_a_whole_number() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())
    await keep_calling(quick_service(limiter), callers=30, seconds=2)
    assert limiter.limit > 20
    assert limiter.limit == int(limiter.limit)


async def test_the_limit_does_not_change_within_a_second() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())
    await keep_calling(quick_service(limiter, seconds=0.01), callers=30, seconds=0.95)
    assert limiter.admitted > 1000
    assert limiter.limit == 20


async def test_the_limit_does_not_change_by_fewer_than_twenty_calls() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=1))
    service = quick_service(limiter, seconds=10)
    for _ in range(19):
        await service()
    assert limiter.limit == 1
    await service()
    assert limiter.limit == 2


async def test_time_spent_in_the_waiting_room_is_not_measured() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=5), max_waiting_time=math.inf, max_waiting_calls=math.inf)
    await keep_calling(quick_service(limiter), callers=100, seconds=20)
    assert limiter.limit >= 100


async def test_a_raised_limit_lets_those_in_who_wait_at_once() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=5), max_waiting_time=math.inf, max_waiting_calls=math.inf)
    seen = set()

    @limiter
    async def service() -> None:
        await asyncio.sleep(0.05)

    async def call() -> None:
        await service()
        assert limiter.in_flight == limiter.limit or not limiter.waiting
        seen.add(limiter.limit)

    await keep_calling(call, callers=100, seconds=5)
    assert len(seen) > 3


async def test_the_share_is_one_of_the_limit_of_the_moment() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(), share=0.5)
    service = quick_service(limiter)
    peak = 0

    async def call() -> None:
        nonlocal peak
        await service()
        peak = max(peak, limiter.in_flight + 1)
        assert peak <= limiter.limit / 2

    await keep_calling(call, callers=100, seconds=5)
    assert peak > 10


async def test_constant_time_outs_lower_the_limit_and_it_recovers_within_thirty_seconds() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(min=2))
    hangs = True

    @limiter
    async def service() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(100 if hangs else 0.05)

    await keep_calling(service, callers=30, seconds=60)
    assert limiter.limit == 2
    hangs = False
    await keep_calling(service, callers=30, seconds=30)
    assert limiter.limit >= 20


async def test_time_outs_before_any_success_lower_the_limit() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=10))

    @limiter
    async def service() -> None:
        await asyncio.sleep(0.1)
        raise TimeoutError

    await keep_calling(service, callers=10, seconds=20)
    assert limiter.limit == 1


async def test_time_outs_that_have_nothing_to_do_with_the_load_do_not_lower_the_limit_for_long() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=50))
    count = 0
    limits = []

    @limiter
    async def crawl() -> None:
        nonlocal count
        count += 1
        await asyncio.sleep(0.05)
        if count % 6 == 0:
            raise TimeoutError
        limits.append(limiter.limit)

    await keep_calling(crawl, callers=70, seconds=30)
    assert min(limits) > 25
    assert limiter.limit >= 50


async def test_only_the_exceptions_named_are_drops() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=10, drop_on=ConnectionError))

    @limiter
    async def fail(exception: type[Exception]) -> None:
        await asyncio.sleep(0.05)
        raise exception

    await keep_calling(lambda: fail(TimeoutError), callers=20, seconds=10)
    await keep_calling(lambda: fail(OSError), callers=20, seconds=10)
    assert limiter.limit == 10
    await keep_calling(lambda: fail(ConnectionResetError), callers=20, seconds=10)
    assert limiter.limit < 10


async def test_cancelled_calls_are_not_measured() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=10))
    service = quick_service(limiter, seconds=5)

    async def call() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(service(), 0.1)

    await keep_calling(call, callers=20, seconds=20)
    assert limiter.admitted > 1000
    assert limiter.in_flight == 0
    assert limiter.limit == 10


async def test_streams_take_slots_but_are_not_measured() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=10))

    @limiter
    async def stream() -> AsyncIterator[int]:
        for i in range(3):
            await asyncio.sleep(0.02)
            yield i

    async def call() -> None:
        assert [i async for i in stream()] == [0, 1, 2]

    await keep_calling(call, callers=20, seconds=20)
    assert limiter.admitted > 1000
    assert limiter.limit == 10


async def test_a_stretch_of_code_is_measured_like_a_call() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())

    async def call() -> None:
        async with limiter.slot():
            await asyncio.sleep(0.05)

    await keep_calling(call, callers=100, seconds=5)
    assert limiter.limit > 20


async def test_an_idle_hour_does_no_harm() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())
    service = quick_service(limiter)
    await keep_calling(service, callers=100, seconds=5)
    limit = limiter.limit
    await asyncio.sleep(3600)
    assert limiter.limit == limit
    await keep_calling(service, callers=5, seconds=5)
    assert limit <= limiter.limit <= 1.3 * limit


async def test_a_few_calls_an_hour_do_no_harm() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())
    service = quick_service(limiter)
    for _ in range(100):
        await asyncio.sleep(600)
        await service()
    assert limiter.limit == 20


async def test_no_task_and_no_timer_is_left() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit())
    await keep_calling(quick_service(limiter), callers=30, seconds=3)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


def test_each_loop_searches_anew() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=5))
    service = quick_service(limiter)

    async def main() -> tuple[float, float]:
        before = limiter.limit
        await keep_calling(service, callers=50, seconds=5)
        return before, limiter.limit

    (first, found), (second, found_again) = virtual_clock.run(main()), virtual_clock.run(main())
    assert (first, second) == (5, 5)
    assert found == found_again > 5
    assert limiter.limit == found


def test_outside_a_loop_the_limit_is_the_sum_of_all_loops() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=5))
    service = quick_service(limiter, seconds=0.001)
    both = threading.Barrier(3)

    def run() -> None:
        async def main() -> None:
            await service()
            both.wait()
            both.wait()

        asyncio.run(main())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait()
    assert limiter.limit == 10
    both.wait()
    for thread in threads:
        thread.join()


def test_a_call_that_is_closed_outside_its_loop_gives_its_slot_back() -> None:
    limiter = limit_jobs(limit=AdaptiveLimit(initial=1))
    left: list[Any] = []

    @limiter
    async def service() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        coroutine = service()
        coroutine.send(None)
        left.append(coroutine)
        assert limiter.in_flight == 1

    virtual_clock.run(main())
    left.pop().close()
    gc.collect()
    assert limiter.in_flight == 0


def test_the_repr_tells_how_it_was_made() -> None:
    made = repr(AdaptiveLimit(initial=5, max=50))
    assert made == "AdaptiveLimit(initial=5, min=1, max=50, drop_on=(<class 'TimeoutError'>,))"
