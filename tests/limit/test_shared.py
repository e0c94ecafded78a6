"""What SharedLimit promises while its server answers. Two SharedLimit objects of one name stand for two processes."""

import asyncio
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from typing import Any

import pytest
import redis
from dike_limit import JobLimiter, SharedLimit, TooManyCalls, limit_jobs
from dike_limit._shared_keys import sorted_set
from limit.shared_server import Server, admits, eventually
from redis.asyncio import Redis

pytestmark = pytest.mark.real_time


class Spy:
    """A client that remembers the commands sent through it."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.commands: list[str] = []

    async def evalsha(self, *args: Any) -> Any:
        self.commands.append("EVALSHA")
        return await self.client.evalsha(*args)

    async def eval(self, *args: Any) -> Any:
        self.commands.append("EVAL")
        return await self.client.eval(*args)


@pytest.fixture
def two(client: Redis, name: str) -> tuple[JobLimiter, JobLimiter]:
    """Two limiters of one name, with one slot."""
    return tuple(limit_jobs(limit=SharedLimit(1, redis=client, name=name)) for _ in range(2))


Two = tuple[JobLimiter, JobLimiter]


async def test_limits_of_one_name_are_one(client: Redis, name: str) -> None:
    one, other = (limit_jobs(limit=SharedLimit(2, redis=client, name=name)) for _ in range(2))
    async with one.slot():
        async with other.slot():
            assert [await admits(one), await admits(other)] == [False, False]
        assert [await admits(one), await admits(other)] == [True, True]


async def test_limits_of_different_names_are_not(client: Redis, name: str) -> None:
    one, other = (limit_jobs(limit=SharedLimit(1, redis=client, name=name + end)) for end in "ab")
    async with one.slot():
        assert await admits(other)


async def test_one_object_in_several_limiters_is_one_limit(client: Redis, name: str) -> None:
    shared = SharedLimit(1, redis=client, name=name)
    async with limit_jobs(limit=shared).slot():
        assert not await admits(limit_jobs(limit=shared))


async def test_functions_are_limited_and_their_results_come_out(client: Redis, name: str) -> None:
    @limit_jobs(limit=SharedLimit(2, redis=client, name=name))
    async def double(number: int) -> int:
        await asyncio.sleep(0.01)
        return 2 * number

    results = await asyncio.gather(*(double(n) for n in range(3)), return_exceptions=True)
    assert results[:2] == [0, 2]
    assert str(results[2]) == "Too many calls to function double! limit=2 exceeded"
    assert await double(4) == 8


async def test_a_refusal_tells_what_is_known(client: Redis, name: str, two: Two) -> None:
    one, other = two

    @other
    async def work() -> None: ...

    async with one.slot():
        with pytest.raises(TooManyCalls) as caught:
            await work()
    error = caught.value
    assert (error.function, error.limit, error.key) == (work.__qualname__, 1, None)
    assert (error.in_flight, error.waiting) == (0, 0)


@pytest.mark.parametrize("same_loop_knows", [True, False])
async def test_retry_after_is_the_time_until_the_oldest_lease_ends(
    client: Redis, name: str, same_loop_knows: bool
) -> None:
    one, other = (limit_jobs(limit=SharedLimit(2, redis=client, name=name, lease=20)) for _ in range(2))
    async with one.slot():
        await asyncio.sleep(0.5)
        async with one.slot():
            with pytest.raises(TooManyCalls) as caught:
                await (one if same_loop_knows else other).slot().__aenter__()
    assert 15 < caught.value.retry_after <= 19.6


async def test_retry_after_is_unknown_without_a_lease(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(0.5, redis=client, name=name), max_waiting_time=9)
    with pytest.raises(TooManyCalls) as caught:
        await limiter.slot().__aenter__()
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    ("limit", "share", "slots"),
    [(2.5, 1, 2), (0.5, 1, 0), (0, 1, 0), (100, 0.29, 29), (4, 0.5, 2), (float("inf"), 1, 50)],
)
async def test_fractions_of_a_limit_and_shares_are_cut_with_a_tolerance(
    client: Redis, name: str, limit: float, share: float, slots: int
) -> None:
    one, other = (limit_jobs(limit=SharedLimit(limit, redis=client, name=name), share=share) for _ in range(2))
    async with AsyncExitStack() as stack:
        for n in range(slots):
            await stack.enter_async_context((one if n % 2 else other).slot())
        if limit < float("inf"):
            assert [await admits(one), await admits(other)] == [False, False]


async def test_less_important_work_is_shed_first(client: Redis, name: str) -> None:
    one, other = (
        limit_jobs(limit=SharedLimit(4, redis=client, name=name), share=lambda urgent: 1.0 if urgent else 0.5)
        for _ in range(2)
    )
    async with one.slot(True), one.slot(True):
        assert [await admits(other, False), await admits(other, True)] == [False, True]


async def test_each_key_has_a_limit_of_its_own_and_none_bypasses_it(client: Redis, name: str) -> None:
    one, other = (limit_jobs(limit=SharedLimit(1, redis=client, name=name), key=lambda key: key) for _ in range(2))
    async with one.slot("a"), one.slot(1):
        assert [await admits(other, key) for key in ("a", "b", 1, "1", None)] == [False, True, False, True, True]
    assert one.admitted == 2
    assert other.admitted == 2


async def test_a_key_that_cannot_be_written_alike_everywhere_is_an_error_of_that_call(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name), key=lambda key: key)
    odd = object()
    with pytest.raises(TypeError, match="but got <object object at"):
        await limiter.slot(odd).__aenter__()
    assert await admits(limiter, "a")
    assert (limiter.in_flight, limiter.waiting) == (0, 0)
    assert [len(each.all()) for each in limiter._rules.loops.in_view()] == [1], "the state of the key is kept"


async def test_nothing_is_kept_of_a_key_whose_calls_are_over(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name), key=lambda key: key)
    for key in range(5):
        assert await admits(limiter, key)
        async with limiter.slot(key):
            assert not await admits(limiter, key)
    await asyncio.sleep(0)
    assert not limiter._rules.limit.on_loop().lines
    assert not await client.keys(sorted_set(name, 0)[:-5] + b"*")


async def test_who_may_wait_gets_the_slot_of_another_process(two: Two, client: Redis, name: str) -> None:
    waiting = limit_jobs(limit=SharedLimit(1, redis=client, name=name), max_waiting_time=60)
    async with two[0].slot():
        task = asyncio.create_task(admits(waiting))
        await eventually(lambda: waiting.waiting == 1)
        assert waiting.in_flight == 0
        await asyncio.sleep(0.1)
        assert not task.done()
    assert await asyncio.wait_for(task, 10)
    assert (waiting.waiting, waiting.in_flight, waiting.admitted) == (0, 0, 1)


async def test_who_waits_is_refused_when_the_time_is_up(two: Two, client: Redis, name: str) -> None:
    waiting = limit_jobs(
        limit=SharedLimit(1, redis=client, name=name, lease=60), max_waiting_time=timedelta(milliseconds=100)
    )
    async with two[0].slot():
        start = time.monotonic()
        with pytest.raises(TooManyCalls) as caught:
            await waiting.slot().__aenter__()
        assert 0.09 < time.monotonic() - start < 5
        assert 0 < caught.value.retry_after < 10
        assert await client.zcard(sorted_set(name)) == 1


async def test_no_more_wait_than_may(two: Two, client: Redis, name: str) -> None:
    waiting = limit_jobs(limit=SharedLimit(1, redis=client, name=name), max_waiting_time=60, max_waiting_calls=2)
    async with two[0].slot():
        tasks = [asyncio.create_task(admits(waiting)) for _ in range(5)]
        await eventually(lambda: sum(task.done() for task in tasks) == 3)
        assert waiting.waiting == 2
    assert [await task for task in tasks] == [True, True, False, False, False]


async def test_a_limit_below_one_refuses_at_once(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(0.9, redis=client, name=name), max_waiting_time=60)
    assert not await asyncio.wait_for(admits(limiter), 10)


async def test_calls_of_one_loop_are_admitted_in_order_of_arrival(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(2, redis=client, name=name), max_waiting_time=60, max_waiting_calls=100)
    order = []

    @limiter
    async def work(number: int) -> None:
        order.append(number)
        await asyncio.sleep(0)

    await asyncio.gather(*(work(n) for n in range(50)))
    assert order == list(range(50))


async def test_a_newcomer_passes_only_those_whom_their_share_keeps_out(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(4, redis=client, name=name), max_waiting_time=60, share=lambda share: share)
    async with limiter.slot(1.0), limiter.slot(1.0):
        modest = asyncio.create_task(admits(limiter, 0.5))
        await eventually(lambda: limiter.waiting == 1)
        assert await admits(limiter, 1.0)
        assert not modest.done()
    assert await asyncio.wait_for(modest, 10)


async def test_a_stream_holds_its_lease_until_it_ends(two: Two) -> None:
    one, other = two

    @one
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    assert [number async for number in count(2)] == [0, 1]
    assert await admits(other)
    async with aclosing(count(2)) as numbers:
        assert await anext(numbers) == 0
        assert not await admits(other)
    assert await admits(other)


async def test_long_jobs_and_streams_keep_their_leases(client: Redis, name: str) -> None:
    one, other = (limit_jobs(limit=SharedLimit(2, redis=client, name=name, lease=0.6)) for _ in range(2))

    @one
    async def stream() -> AsyncIterator[int]:
        yield 1

    async with one.slot(), aclosing(stream()) as items:
        await anext(items)
        for _ in range(15):
            await asyncio.sleep(0.1)
            assert not await admits(other)
    assert one._rules.limit.lost_leases == 0
    assert await admits(other)


async def test_the_figures_tell_what_goes_on(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name))
    async with limiter.slot():
        assert not await admits(limiter)
        assert (limiter.in_flight, limiter.waiting, limiter.admitted, limiter.rejected) == (1, 0, 1, 1)
    assert (limiter.in_flight, limiter.waiting, limiter.admitted, limiter.rejected) == (0, 0, 1, 1)


async def test_calls_that_ask_do_not_count_as_in_flight(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name), key=lambda key: key)

    @limiter
    async def job(key: str) -> None:
        await asyncio.sleep(0.05)

    results = await asyncio.gather(*(job("a") for _ in range(4)), return_exceptions=True)
    assert [result and result.in_flight for result in results] == [None, 1, 1, 1]


async def test_the_limit_is_shown_and_cannot_be_set(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(7, redis=client, name=name))
    assert limiter.limit == 7
    with pytest.raises(AttributeError, match="SharedLimit"):
        limiter.limit = 8


async def test_a_call_takes_at_most_two_round_trips(client: Redis, name: str) -> None:
    spy = Spy(client)
    limiter = limit_jobs(limit=SharedLimit(10, redis=spy, name=name))
    await admits(limiter)
    spy.commands.clear()
    for _ in range(10):
        assert await admits(limiter)
    assert spy.commands == ["EVALSHA"] * 20


async def test_calls_that_come_together_share_their_round_trips(client: Redis, name: str) -> None:
    spy = Spy(client)
    limiter = limit_jobs(limit=SharedLimit(100, redis=spy, name=name))
    assert all(await asyncio.gather(*(admits(limiter) for _ in range(100))))
    assert len(spy.commands) < 10


async def test_what_this_loop_knows_to_be_full_takes_no_round_trip(client: Redis, name: str) -> None:
    spy = Spy(client)
    limiter = limit_jobs(limit=SharedLimit(1, redis=spy, name=name))
    async with limiter.slot():
        spy.commands.clear()
        assert not await admits(limiter)
    assert spy.commands == ["EVALSHA"]


async def test_a_server_that_forgot_the_script_is_told_it_again(client: Redis, name: str) -> None:
    spy = Spy(client)
    limiter = limit_jobs(limit=SharedLimit(1, redis=spy, name=name))
    await client.script_flush()
    assert await admits(limiter)
    assert spy.commands == ["EVALSHA", "EVAL", "EVALSHA"]


@pytest.mark.parametrize("options", [{"decode_responses": True}, {"protocol": 2}, {"protocol": 3}])
async def test_clients_of_all_kinds_do(server: Server, name: str, options: dict[str, Any]) -> None:
    async with Redis(port=server.port, **options) as client:
        one, other = (limit_jobs(limit=SharedLimit(1, redis=client, name=name)) for _ in range(2))
        async with one.slot():
            assert not await admits(other)
        assert await admits(other)


async def test_leases_that_the_server_lost_are_put_back_counted_and_logged(
    client: Redis, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = (SharedLimit(2, redis=client, name=name, lease=0.6) for _ in range(2))
    mine, theirs = limit_jobs(limit=one), limit_jobs(limit=other)
    async with mine.slot(), mine.slot():
        await client.delete(sorted_set(name))
        await eventually(lambda: one.lost_leases == 2)
        assert not await admits(theirs)
        assert [(record.name, record.levelname) for record in caplog.records] == [("dike", "WARNING")]
        assert name in caplog.text
    assert (one.lost_leases, other.lost_leases) == (2, 0)
    assert await client.zcard(sorted_set(name)) == 0


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_loop_that_stands_still_loses_its_leases_and_says_so(
    client: Redis, name: str, goes_on: bool, caplog: pytest.LogCaptureFixture
) -> None:
    shared = SharedLimit(1, redis=client, name=name, lease=0.3)
    async with limit_jobs(limit=shared).slot():
        time.sleep(0.6)
        if goes_on:
            await eventually(lambda: shared.lost_leases == 1)
    assert shared.lost_leases == 1
    assert "lost" in caplog.text
    assert await client.zcard(sorted_set(name)) == 0


async def test_a_loop_that_stands_still_while_it_asks_reads_the_answer_afterwards(
    client: Redis, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name, when_unreachable="closed"))
    assert await admits(limiter)
    for turns in range(8):
        task = asyncio.create_task(admits(limiter))
        for _ in range(turns):
            await asyncio.sleep(0)
        time.sleep(0.3)
        assert await task
    assert caplog.records == []


async def test_a_lost_lease_put_back_may_stand_over_the_limit_but_nobody_else_enters(client: Redis, name: str) -> None:
    one, other = (limit_jobs(limit=SharedLimit(1, redis=client, name=name, lease=0.3)) for _ in range(2))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(one.slot())
        await client.delete(sorted_set(name))
        await stack.enter_async_context(other.slot())
        await eventually(lambda: one._rules.limit.lost_leases == 1)
        assert await client.zcard(sorted_set(name)) == 2
        assert [await admits(one), await admits(other)] == [False, False]


async def test_what_runs_on_this_loop_counts_even_if_the_server_does_not_know(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name, lease=60))
    async with limiter.slot():
        await client.delete(sorted_set(name))
        assert not await admits(limiter)


async def test_with_open_the_server_alone_counts(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name, lease=60, when_unreachable="open"))
    async with limiter.slot():
        assert not await admits(limiter)
        await client.delete(sorted_set(name))
        assert await admits(limiter)


async def test_renewal_ends_when_nothing_is_left_to_renew(client: Redis, name: str) -> None:
    spy = Spy(client)
    limiter = limit_jobs(limit=SharedLimit(5, redis=spy, name=name, lease=0.15))
    async with limiter.slot(), limiter.slot():
        await eventually(lambda: len(spy.commands) > 6)
    spy.commands.clear()
    await asyncio.sleep(0.3)
    assert spy.commands == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_set_in_redis_goes_with_its_last_lease(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(5, redis=client, name=name, lease=20))
    async with limiter.slot():
        assert 15_000 < await client.pttl(sorted_set(name)) <= 20_000
        # Another process may say that its leases are shorter.
        assert await admits(limit_jobs(limit=SharedLimit(5, redis=client, name=name, lease=1)))
        assert 15_000 < await client.pttl(sorted_set(name)) <= 20_000
    assert not await client.exists(sorted_set(name))


def test_a_function_makes_one_client_for_each_loop(server: Server, name: str) -> None:
    made: list[Redis] = []

    def make() -> Redis:
        made.append(Redis(port=server.port))
        return made[-1]

    limiter = limit_jobs(limit=SharedLimit(3, redis=make, name=name))

    async def main() -> bool:
        results = await asyncio.gather(*(admits(limiter) for _ in range(3)))
        await made[-1].aclose()
        return all(results)

    assert asyncio.run(main())
    assert asyncio.run(main())
    assert len(made) == 2


def test_threads_with_loops_of_their_own_share_the_limit(server: Server, name: str) -> None:
    clients = threading.local()

    def make() -> Redis:
        clients.own = Redis(port=server.port)
        return clients.own

    limiter = limit_jobs(
        limit=SharedLimit(3, redis=make, name=name), max_waiting_time=float("inf"), max_waiting_calls=100
    )
    lock, running, most = threading.Lock(), 0, 0

    @limiter
    async def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0.005)
        with lock:
            running -= 1

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(20)))
        await clients.own.aclose()

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert limiter.admitted == 60


def test_a_client_on_a_second_loop_is_refused_with_what_to_do(server: Server, name: str) -> None:
    client = Redis(port=server.port)
    limiter = limit_jobs(limit=SharedLimit(3, redis=client, name=name))

    async def main() -> bool:
        try:
            return await admits(limiter)
        finally:
            await client.aclose()

    assert asyncio.run(main())
    with pytest.raises(RuntimeError, match="give `redis` a function that makes a client"):
        asyncio.run(main())


async def test_the_client_is_not_closed(client: Redis, name: str) -> None:
    assert await admits(limit_jobs(limit=SharedLimit(3, redis=client, name=name)))
    assert client.connection_pool._available_connections[0].is_connected


def test_redis_is_not_imported_until_it_is_needed() -> None:
    code = "import sys, dike_limit; assert not {'redis', 'hashlib', 'uuid'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_redis_py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.exceptions", None)
    with pytest.raises(ImportError, match=r"dike-limit\[redis\]"):
        SharedLimit(1, redis=Redis(), name="a")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"limit": -1}, ValueError, "limit must be >= 0, but got -1"),
        ({"limit": float("nan")}, ValueError, "limit must be a number, but got nan"),
        ({"limit": "5"}, TypeError, "limit must be a number, but got '5'"),
        ({"limit": True}, TypeError, "limit must be a number, but got True"),
        ({"name": ""}, ValueError, "name must be a str that is not empty, but got ''"),
        ({"name": b"a"}, TypeError, "name must be a str, but got b'a'"),
        ({"lease": 0}, ValueError, "lease must be a finite time > 0, but got 0"),
        ({"lease": timedelta(-1)}, ValueError, "lease must be a finite time > 0, but got datetime.timedelta"),
        ({"lease": float("inf")}, ValueError, "lease must be a finite time > 0, but got inf"),
        ({"lease": "10"}, TypeError, "lease must be a number of seconds or a timedelta, but got '10'"),
        ({"when_unreachable": "shut"}, ValueError, 'must be "local", "open" or "closed", but got \'shut\''),
        ({"when_unreachable": ["open"]}, ValueError, r"but got \['open'\]"),
        ({"redis": redis.Redis()}, TypeError, "redis must be a client of redis.asyncio"),
        ({"redis": "redis://localhost"}, TypeError, "redis must be a client of redis.asyncio"),
        ({"redis": eventually}, TypeError, "redis must be a client or a function that returns one, not a coroutine"),
    ],
)
def test_a_wrong_option_is_named_with_its_value(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    options: dict[str, Any] = {"limit": 1, "redis": Redis(), "name": "a"}
    with pytest.raises(error, match=message):
        SharedLimit(**options | wrong)


async def test_a_function_that_makes_something_else_is_named_at_the_call(name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=lambda: "a string", name=name))
    with pytest.raises(TypeError, match="but got 'a string'"):
        await limiter.slot().__aenter__()


def test_options_are_keyword_only_but_for_the_limit() -> None:
    kinds = {parameter.name: parameter.kind.name for parameter in inspect.signature(SharedLimit).parameters.values()}
    assert kinds.pop("limit") == "POSITIONAL_OR_KEYWORD"
    assert set(kinds.values()) == {"KEYWORD_ONLY"}
