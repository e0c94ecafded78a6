"""A call that is cancelled, timed out or closed leaves no lease, whatever it was doing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from dike_limit import SharedLimit, limit_jobs
from dike_limit._shared_keys import sorted_set
from limit.shared_server import Server, admits, eventually
from redis.asyncio import Redis

pytestmark = pytest.mark.real_time


@pytest.mark.parametrize("waits", [True, False])
async def test_cancelled_at_each_await(client: Redis, name: str, waits: bool) -> None:
    limiter, other = (limit_jobs(limit=SharedLimit(1, redis=client, name=name), max_waiting_time=60) for _ in range(2))
    for turns in range(200):
        holder = other.slot() if waits else None
        if holder:
            await holder.__aenter__()
        task = asyncio.create_task(admits(limiter))
        for turn in range(turns):
            if holder and turn == turns // 2:
                await holder.__aexit__(None, None, None)
                holder = None
            await asyncio.sleep(0)
        was_done = task.done()
        task.cancel()
        await asyncio.wait({task})
        if holder:
            await holder.__aexit__(None, None, None)
        # At once, not after a while.
        assert await client.zcard(sorted_set(name)) == 0
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        if was_done:
            break
    assert turns > 3
    assert await admits(limiter)
    assert limiter._rules.limit.lost_leases == 0


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_twice(client: Redis, name: str, turns: int) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name))
    for again in range(4):
        task = asyncio.create_task(admits(limiter))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        for _ in range(again):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

        async def nobody_counts() -> bool:
            return await client.zcard(sorted_set(name)) == 0

        await eventually(nobody_counts)


async def test_timed_out_while_waiting(client: Redis, name: str) -> None:
    one, other = (limit_jobs(limit=SharedLimit(1, redis=client, name=name), max_waiting_time=60) for _ in range(2))
    async with one.slot():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await other.slot().__aenter__()
    assert await client.zcard(sorted_set(name)) == 0


@pytest.mark.parametrize("turns", range(8))
async def test_a_coroutine_closed_before_it_ends(client: Redis, name: str, turns: int) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name))

    @limiter
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    call = work()
    # As a task would, but so that it can be closed.
    waits_for: Any = call.send(None)
    for _ in range(turns):
        await asyncio.sleep(0.001)
        if waits_for.done():
            waits_for = call.send(None)
    call.close()
    await asyncio.sleep(0)

    async def nobody_counts() -> bool:
        return await client.zcard(sorted_set(name)) == 0 and limiter.in_flight == 0

    await eventually(nobody_counts)
    assert await admits(limiter)


def test_a_coroutine_closed_after_its_loop(server: Server, name: str) -> None:
    client = Redis(port=server.port)
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name))

    @limiter
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    call = work()

    async def main() -> None:
        waits_for: Any = call.send(None)
        await eventually(waits_for.done)
        call.send(None)
        assert limiter.in_flight == 1
        await client.aclose()

    asyncio.run(main())
    call.close()
    assert limiter.in_flight == 0


async def test_a_stream_closed_early(client: Redis, name: str) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=client, name=name))

    @limiter
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    async with aclosing(numbers()) as stream:
        async for _ in stream:
            break
    assert await client.zcard(sorted_set(name)) == 0


@pytest.mark.parametrize("streams", [0, 1])
def test_a_loop_that_shuts_down_gives_its_leases_back(
    server: Server, name: str, streams: int, caplog: pytest.LogCaptureFixture
) -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        client = Redis(port=server.port)
        limiter = limit_jobs(limit=SharedLimit(20, redis=client, name=name, lease=60))
        left_open: list[Any] = []

        @limiter
        async def work() -> None:
            await asyncio.sleep(60)

        @limiter
        async def stream() -> AsyncIterator[int]:
            yield 1

        async def main() -> None:
            for _ in range(5):
                loop.create_task(work())
            for _ in range(streams):
                left_open.append(stream())
                await anext(left_open[0])
            await eventually(lambda: limiter.admitted == 5 + streams)
            # These are cancelled while they ask.
            for _ in range(5):
                loop.create_task(work())
            await asyncio.sleep(0)

        runner.run(main())
        # What `asyncio.run` does at its end; only that the client can still be closed afterwards.
        asyncio.runners._cancel_all_tasks(loop)
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert loop.run_until_complete(client.zcard(sorted_set(name))) == 0
        loop.run_until_complete(client.aclose())
    assert caplog.records == []


def test_a_loop_that_shuts_down_while_its_server_stands_still_is_not_held_up(
    fragile_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        client = Redis(port=fragile_server.port)
        limiter = limit_jobs(limit=SharedLimit(20, redis=client, name="name", lease=60))

        @limiter
        async def work() -> None:
            await asyncio.sleep(60)

        async def main() -> None:
            for _ in range(5):
                loop.create_task(work())
            await eventually(lambda: limiter.admitted == 5)
            fragile_server.pause()

        runner.run(main())
        start = time.monotonic()
        asyncio.runners._cancel_all_tasks(loop)
        assert time.monotonic() - start < 3
        loop.run_until_complete(client.aclose())
    assert [record.name for record in caplog.records] == ["dike"]
