"""A slot for a stretch of code, and what a limiter tells of itself."""

import asyncio
from typing import Any

import pytest
import virtual_clock
from dike_limit import TooManyCalls, limit_jobs
from limit.jobs import Jobs, settle


async def test_a_stretch_of_code_holds_a_slot() -> None:
    limiter = limit_jobs(limit=1)
    async with limiter.slot():
        assert limiter.in_flight == 1
        with pytest.raises(TooManyCalls) as info:
            async with limiter.slot():
                pytest.fail("there is one slot only")
    assert str(info.value) == "Too many calls! limit=1 exceeded"
    assert info.value.function is None
    assert limiter.in_flight == 0


async def test_a_slot_is_freed_by_an_error_which_comes_out() -> None:
    limiter = limit_jobs(limit=1)
    with pytest.raises(KeyError):
        async with limiter.slot():
            raise KeyError
    assert limiter.in_flight == 0


async def test_a_slot_that_is_not_entered_takes_nothing() -> None:
    limiter = limit_jobs(limit=1)
    limiter.slot()
    assert limiter.in_flight == 0


async def test_a_slot_may_be_waited_for() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1)

    async def hold(seconds: float) -> None:
        async with limiter.slot():
            await asyncio.sleep(seconds)

    await asyncio.gather(hold(0.9), hold(0.1))
    with pytest.raises(TooManyCalls):
        await asyncio.gather(hold(1.1), hold(0.1))


async def test_key_and_share_see_the_arguments_of_slot() -> None:
    limiter = limit_jobs(limit=2, key=lambda tenant, **_: tenant, share=lambda tenant, *, share=1: share)
    async with limiter.slot("a", share=0.5):
        with pytest.raises(TooManyCalls):
            await limiter.slot("a", share=0.5).__aenter__()
        async with limiter.slot("a"), limiter.slot("b"):
            assert limiter.in_flight == 3


@pytest.mark.parametrize("options", [{}, {"max_waiting_time": 5, "max_waiting_calls": 1}, {"key": lambda name: 1}])
async def test_the_counters_tell_what_happens(options: Any) -> None:
    limiter = limit_jobs(limit=2, **options)
    jobs = Jobs(limiter)
    room = 1 if "max_waiting_time" in options else 0
    await jobs.start(1, 2, 3, 4)
    assert (limiter.limit, limiter.in_flight, limiter.waiting) == (2, 2, room)
    assert (limiter.admitted, limiter.rejected) == (2, 2 - room)
    await jobs.end(1)
    assert (limiter.in_flight, limiter.waiting, limiter.admitted) == (1 + room, 0, 2 + room)
    await jobs.end_all()
    assert (limiter.in_flight, limiter.waiting) == (0, 0)
    assert (limiter.admitted, limiter.rejected) == (2 + room, 2 - room)


async def test_a_call_cancelled_while_it_waits_is_neither_admitted_nor_rejected() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=5)
    jobs = Jobs(limiter)
    await jobs.start(1, 2)
    await jobs.cancel(2)
    assert (limiter.admitted, limiter.rejected, limiter.waiting) == (1, 0, 0)


async def test_a_call_that_waits_in_vain_is_rejected() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=5)
    jobs = Jobs(limiter)
    await jobs.start(1, 2)
    await asyncio.sleep(6)
    assert (limiter.admitted, limiter.rejected, limiter.waiting) == (1, 1, 0)


async def test_a_limiter_that_has_seen_nothing_shows_zeros() -> None:
    limiter = limit_jobs(limit=1)
    assert (limiter.in_flight, limiter.waiting, limiter.admitted, limiter.rejected) == (0, 0, 0, 0)
    await settle()


@pytest.mark.parametrize("options", [{}, {"max_waiting_time": 5}, {"key": lambda name: 1}, {"share": 0.5}])
@pytest.mark.parametrize("name", ["in_flight", "waiting", "admitted", "rejected"])
def test_the_counters_are_whole_numbers_in_an_event_loop_and_outside(name: str, options: Any) -> None:
    limiter = limit_jobs(limit=2, **options)

    async def main() -> Any:
        jobs = Jobs(limiter)
        await jobs.start(1, 2, 3)
        here = getattr(limiter, name)
        await jobs.end_all()
        return here

    assert type(virtual_clock.run(main())) is int
    assert type(getattr(limiter, name)) is int


@pytest.mark.parametrize("name", ["in_flight", "waiting", "admitted", "rejected"])
def test_the_counters_cannot_be_set(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(limit_jobs(limit=1), name, 0)
