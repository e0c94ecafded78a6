"""A limit for each key."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
from dike_limit import TooManyCalls, limit_jobs
from limit.jobs import Jobs, settle


def keys_of(limiter: Any) -> list[Any]:
    return [key for here in limiter._rules.loops.values() for key in here._by_key]


async def test_each_key_has_slots_of_its_own() -> None:
    limiter = limit_jobs(limit=1, key=lambda name: name[0])
    jobs = Jobs(limiter)
    await jobs.start("a1", "b1", "a2", "b2", "c1")
    assert jobs.started == ["a1", "b1", "c1"]
    assert (limiter.in_flight, limiter.admitted, limiter.rejected) == (3, 3, 2)


async def test_each_key_has_a_waiting_room_of_its_own() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=9, max_waiting_calls=1, key=lambda name: name[0])
    jobs = Jobs(limiter)
    await jobs.start("a1", "a2", "a3", "b1", "b2")
    assert jobs.is_refused("a3")
    assert limiter.waiting == 2
    await jobs.end("b1")
    assert jobs.started == ["a1", "b1", "b2"]


async def test_the_key_is_found_from_positional_and_keyword_arguments_and_those_of_a_method_with_self() -> None:
    seen = []

    def key(*args: Any, **kwargs: Any) -> Any:
        seen.append((args, kwargs))
        return 1

    class Service:
        @limit_jobs(limit=1, key=key)
        async def call(self, a: int, *, b: int) -> None: ...

    service = Service()
    await service.call(1, b=2)
    async with limit_jobs(limit=1, key=key).slot(3, c=4):
        pass
    assert seen == [((service, 1), {"b": 2}), ((3,), {"c": 4})]


async def test_equal_keys_are_one_as_in_a_dict() -> None:
    jobs = Jobs(limit_jobs(limit=1, key=lambda name: name))
    await jobs.start(1, True, 1.0)
    assert jobs.started == [1]


async def test_a_call_without_a_key_bypasses_the_limit_and_counts_nowhere() -> None:
    limiter = limit_jobs(limit=0, key=lambda name: None)
    jobs = Jobs(limiter)
    await jobs.start(*range(5))
    assert jobs.started == [0, 1, 2, 3, 4]
    async with limiter.slot("name"):
        assert (limiter.in_flight, limiter.waiting, limiter.admitted, limiter.rejected) == (0, 0, 0, 0)

    @limiter
    async def stream(name: str) -> Any:
        yield name

    assert [item async for item in stream("item")] == ["item"]
    assert (limiter.in_flight, limiter.waiting, limiter.admitted, limiter.rejected) == (0, 0, 0, 0)


async def test_a_slot_entered_again_without_its_key_gives_back_nothing() -> None:
    key: list[Any] = ["a"]
    limiter = limit_jobs(limit=2, key=lambda: key[0])
    slot = limiter.slot()
    async with limiter.slot():
        async with slot:
            assert limiter.in_flight == 2
        key[0] = None
        async with slot:
            assert limiter.in_flight == 1
        assert limiter.in_flight == 1


@pytest.mark.parametrize("waiting_time", [0, 1])
async def test_nothing_is_kept_of_a_key_when_nothing_of_it_runs_or_waits(waiting_time: float) -> None:
    class Key:
        pass

    limiter = limit_jobs(limit=1, max_waiting_time=waiting_time, key=lambda name, key: key)
    jobs = Jobs(limiter)
    key = Key()
    await jobs.start("runs", "second", "third", args=(key,))
    assert keys_of(limiter) == [key]
    if waiting_time:
        await jobs.cancel("second")
        await jobs.start("in time", args=(key,))
        await asyncio.sleep(2)
    await jobs.end("runs")
    assert keys_of(limiter) == []
    dead = weakref.ref(key)
    del key
    jobs.tasks.clear()
    gc.collect()
    assert dead() is None
    assert (limiter.admitted, limiter.in_flight, limiter.waiting) == (1, 0, 0)


async def test_nothing_is_kept_of_a_key_that_was_only_refused() -> None:
    limiter = limit_jobs(limit=0, key=lambda name: name)
    with pytest.raises(TooManyCalls):
        await Jobs(limiter).job("a")
    assert keys_of(limiter) == []


async def test_nothing_is_kept_of_a_key_whose_waiters_run_out_of_time_together() -> None:
    limiter = limit_jobs(limit=1, max_waiting_time=1, max_waiting_calls=9, key=lambda name: "key")
    jobs = Jobs(limiter)
    await jobs.start(*range(4))
    await asyncio.sleep(0.999)
    limiter.limit = 0
    await jobs.end(0)
    assert keys_of(limiter) == ["key"]
    await asyncio.sleep(1)
    assert [jobs.is_refused(name) for name in range(1, 4)] == [True] * 3
    assert keys_of(limiter) == []


async def test_many_keys_leave_nothing_behind_and_are_all_counted() -> None:
    limiter = limit_jobs(limit=1, key=lambda name: name)
    jobs = Jobs(limiter)
    for name in range(300):
        await jobs.start(name)
        await jobs.end(name)
    assert keys_of(limiter) == []
    assert limiter.admitted == 300


@pytest.mark.parametrize("key", [[], {}, [1]])
async def test_a_key_that_is_not_hashable_is_a_type_error_to_that_caller(key: Any) -> None:
    limiter = limit_jobs(limit=1, key=lambda name, key: key)
    jobs = Jobs(limiter)
    with pytest.raises(TypeError, match="unhashable"):
        await jobs.job("a", key)
    assert keys_of(limiter) == []
    await jobs.start("b", args=("fine",))
    assert jobs.started == ["b"]


async def test_an_error_of_key_comes_out_and_no_slot_is_taken() -> None:
    limiter = limit_jobs(limit=1, key=lambda name: 1 / name)
    jobs = Jobs(limiter)
    with pytest.raises(ZeroDivisionError):
        await jobs.job(0)
    assert (limiter.in_flight, limiter.admitted, limiter.rejected) == (0, 0, 0)
    await jobs.start(1)
    assert jobs.started == [1]


async def test_a_refusal_tells_the_figures_of_its_own_key() -> None:
    limiter = limit_jobs(limit=2, max_waiting_time=9, max_waiting_calls=1, key=lambda name: name[0])
    jobs = Jobs(limiter)
    await jobs.start("a1", "a2", "a3", "b1", "a4")
    error = jobs.tasks["a4"].exception()
    assert isinstance(error, TooManyCalls)
    assert (error.key, error.in_flight, error.waiting, error.limit) == ("a", 2, 1, 2)
    await settle()
