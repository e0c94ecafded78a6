"""A limit that many processes share through Redis: what entering and leaving costs, next to the round trips alone."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from limit.shared_server import Server
from redis.asyncio import Redis

from benchmarks import measure

LIMIT = 1000
BARE = "bare redis-py, 2 PINGs"

# Enters a limit of that name; the connection is that of the running event loop.
Enter = Callable[[], AbstractAsyncContextManager[Any]]
Make = Callable[[str, int, int, Redis], Enter]


def pings(name: str, limit: int, port: int, client: Redis) -> Enter:
    """Make two round trips and limit nothing: the least that a limit with an entry and an exit takes."""

    @contextlib.asynccontextmanager
    async def enter() -> Any:
        await client.ping()
        try:
            yield
        finally:
            await client.ping()

    return enter


def counter(name: str, limit: int, port: int, client: Redis) -> Enter:
    """Count up and down, as one would by hand; a killed process's slots never come back."""

    @contextlib.asynccontextmanager
    async def enter() -> Any:
        if await client.incr(name) > limit:
            await client.decr(name)
            raise RuntimeError("full")
        try:
            yield
        finally:
            await client.decr(name)

    return enter


def dike(name: str, limit: int, port: int, client: Redis) -> Enter:
    from dike_limit import SharedLimit, limit_jobs

    return limit_jobs(limit=SharedLimit(limit, redis=client, name=name)).slot


def async_redis_rate_limiters(name: str, limit: int, port: int, client: Redis) -> Enter:
    from async_redis_rate_limiters import DistributedSemaphoreManager

    manager = DistributedSemaphoreManager(redis_url=f"redis://localhost:{port}", redis_max_connections=200)
    return lambda: manager.get_semaphore(name, limit)


def self_limiters(name: str, limit: int, port: int, client: Redis) -> Enter:
    from self_limiters import Semaphore

    semaphore = Semaphore(name, limit, max_sleep=10, redis_url=f"redis://localhost:{port}", connection_pool_size=100)
    return lambda: semaphore


MAKERS: dict[str, Make] = {
    BARE: pings,
    "INCR and DECR by hand": counter,
    "dike SharedLimit": dike,
    "async-redis-rate-limiters": async_redis_rate_limiters,
    "self-limiters (in Rust)": self_limiters,
}


async def calls(enter: Enter, callers: int, each: int) -> float:
    """Return the seconds per call when so many callers at once make so many calls each."""

    async def caller() -> None:
        for _ in range(each):
            async with enter():
                pass

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.perf_counter() - start) / (callers * each)


async def check(name: str, enter: Enter) -> None:
    """See that two, and not three, are let in under a limit of two."""
    async with enter(), enter():
        third: Awaitable[Any] = enter().__aenter__()
        try:
            await asyncio.wait_for(third, 0.3)
        except Exception:  # refused, or made to wait
            return
    raise AssertionError(f"{name}: lets in three under a limit of two")


async def round_trips(client: Redis, enter: Enter, callers: int, each: int) -> float:
    """Return how many scripts the server has run per call."""
    await client.config_resetstat()
    await calls(enter, callers, each)
    return (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] / (callers * each)


def run(quick: bool) -> dict[str, Any]:
    rounds, seconds = (8, 0.05) if quick else (40, 0.15)
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        server = Server(Path(folder))
        client = runner.run(connect(server.port))
        try:
            return section(rounds, seconds, server.port, client, runner)
        finally:
            runner.run(client.aclose())
            server.kill()


async def connect(port: int) -> Redis:
    return Redis(port=port)


def section(rounds: int, seconds: float, port: int, client: Redis, runner: asyncio.Runner) -> dict[str, Any]:
    contenders = measure.available(MAKERS, "limit", LIMIT, port, client)
    for name in contenders:
        if MAKERS[name] is not pings:
            runner.run(check(name, MAKERS[name](f"check {name}", 2, port, client)))

    def measured(callers: int) -> dict[str, list[float]]:
        def turn(enter: Enter) -> Callable[[], float]:
            runner.run(calls(enter, callers, 5))  # opens the connections
            each = max(2, round(seconds / runner.run(calls(enter, callers, 5)) / callers))
            return lambda: runner.run(calls(enter, callers, each))

        return measure.interleave({name: turn(enter) for name, enter in contenders.items()}, rounds)

    times = {callers: measured(callers) for callers in (1, 10, 100)}
    trips = {callers: runner.run(round_trips(client, contenders["dike SharedLimit"], callers, 50)) for callers in times}
    return {
        "title": "A limit shared through Redis",
        "about": (
            f"Entering a limit of {LIMIT:,} and leaving it, on one event loop and one server of this machine. The bare "
            "round trips limit nothing. Calls that come together share round trips: with 100 callers there were "
            f"{trips[100]:.2f} per call instead of two."
        ),
        "tables": [
            measure.table(
                "one call after another" if callers == 1 else f"{callers} callers at once",
                taken,
                BARE,
                unit="us",
                per_second=1e6,
            )
            for callers, taken in times.items()
        ]
        + [
            {
                "caption": "Calls per second",
                "columns": ["contender", *(f"{callers} at once" for callers in times)],
                "rows": [[name, *(round(1 / measure.typical(times[n], name)) for n in times)] for name in contenders],
            }
        ],
        "targets": [[f"round trips per call, {callers} at once", count, "<=", 2] for callers, count in trips.items()],
        "plots": [
            {
                "name": "shared_limit",
                "caption": "Calls per second by the number of callers at once",
                "x": "callers",
                "y": "calls/s",
                "log": "xy",
                "lines": {
                    name: [[callers, 1 / measure.typical(taken, name)] for callers, taken in times.items()]
                    for name in contenders
                },
            }
        ],
    }
