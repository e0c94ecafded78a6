"""An open-loop load: requests come when they come, whether or not the earlier ones have been answered."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import aiohttp

QUIET, RUSH = 70, 240  # requests a second
PATIENCE = 2.0  # seconds until a client gives up


@dataclass(frozen=True)
class Answer:
    """What became of one request."""

    arrival: float  # seconds since the load began
    latency: float  # seconds since the arrival, so a late load generator cannot make the service look quick
    lateness: float  # seconds by which the load generator sent it too late
    status: int  # of HTTP; 0: the client gave up


def arrivals(seconds: float) -> Iterator[float]:
    """Moments of a Poisson process: quiet, a rush in the middle third, quiet again; the same ones each time."""
    gaps = random.Random(0)
    now = 0.0
    while True:
        rate = RUSH if seconds / 3 <= now < seconds * 2 / 3 else QUIET
        now += gaps.expovariate(rate)
        if now >= seconds:
            return
        yield now


async def drive(url: str, moments: Iterable[float], tell: Callable[[Answer], None]) -> list[Answer]:
    """Send a request at each of the moments, and wait until all are answered or given up."""
    loop = asyncio.get_running_loop()
    connections = aiohttp.TCPConnector(limit=0)
    patience = aiohttp.ClientTimeout(total=PATIENCE)
    async with (
        aiohttp.ClientSession(url, connector=connections, timeout=patience) as session,
        asyncio.TaskGroup() as requests,
    ):
        start = loop.time()

        async def request(user: int, arrival: float) -> Answer:
            sent = loop.time() - start
            try:
                async with session.get(f"/score/{user}") as response:
                    await response.read()
                    status = response.status
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            answer = Answer(arrival, loop.time() - start - arrival, sent - arrival, status)
            tell(answer)
            return answer

        tasks = []
        for user, arrival in enumerate(moments):
            await asyncio.sleep(start + arrival - loop.time())
            tasks.append(requests.create_task(request(user, arrival)))
    return [task.result() for task in tasks]
