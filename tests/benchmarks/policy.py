"""When a batch leaves: latencies under Poisson arrivals, beside an ideal policy that never lets the server idle.

The server takes a fixed time and a time per row, one batch at a time, as a model on an accelerator does. Time is
virtual, so the result depends on the policies alone, not on how quick the code is or how busy the machine.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import virtual_clock

FIXED, PER_ROW, MOST = 0.004, 0.00005, 64
CAPACITY = MOST / (FIXED + PER_ROW * MOST)  # rows/s
LOADS = (0.10, 0.30, 0.60, 0.85)

Func = Callable[[Any], Awaitable[Any]]
Serve = Callable[[list[int]], Awaitable[list[int]]]


def service_time(rows: int) -> float:
    """Return the seconds that the server takes for a batch."""
    return FIXED + PER_ROW * rows


def arrivals(load: float, count: int, seed: int) -> list[float]:
    """Return the times of Poisson arrivals at a share of the server's capacity."""
    rng = random.Random(seed)
    now, times = 0.0, []
    for _ in range(count):
        now += rng.expovariate(load * CAPACITY)
        times.append(now)
    return times


def ideal(times: list[float]) -> list[float]:
    """Return the latencies under the ideal policy: a free server at once takes all that waits, in order."""
    latencies: list[float] = []
    free = 0.0
    while len(latencies) < len(times):
        first = len(latencies)
        start = max(free, times[first])
        last = first
        while last < len(times) and times[last] <= start and last - first < MOST:
            last += 1
        free = start + service_time(last - first)
        latencies += [free - time for time in times[first:last]]
    return latencies


async def latencies(make: Callable[[Serve], Func], times: list[float]) -> list[float]:
    """Return the latencies with a batcher in front of the server."""
    server = asyncio.Lock()
    loop = asyncio.get_running_loop()
    taken = [0.0] * len(times)

    async def serve(rows: list[int]) -> list[int]:
        async with server:
            await asyncio.sleep(service_time(len(rows)))
        return rows

    call = make(serve)
    start = loop.time()

    async def request(number: int) -> None:
        if await call(number) != number:
            raise AssertionError("a caller got another's row")
        taken[number] = loop.time() - start - times[number]

    requests = []
    for number, time in enumerate(times):
        if (early := start + time - loop.time()) > 0:
            await asyncio.sleep(early)
        requests.append(asyncio.ensure_future(request(number)))
    await asyncio.gather(*requests)
    return taken


def percentile(values: list[float], share: float) -> float:
    """Return the smallest of the values that at least this share of them does not exceed."""
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]


def dike(serve: Serve) -> Func:
    from dike_batch import batch

    return batch(
        target_batch_size=MOST,
        max_waiting_time=10.0,
        max_batch_size=MOST,
        max_concurrent_batches=1,
        dispatch_when_idle=True,
        argument_type="item",
    )(serve)


def dike_waiting(serve: Serve, wait: float) -> Func:
    from dike_batch import batch

    return batch(target_batch_size=MOST, max_waiting_time=wait, max_concurrent_batches=1, argument_type="item")(serve)


def older_dike(serve: Serve, wait: float) -> Func:
    from dike import batch

    batched = batch(target_batch_size=MOST, max_waiting_time=wait)(serve)

    async def single(item: int) -> int:
        return (await batched([item]))[0]

    return single


def aiodataloader(serve: Serve) -> Func:
    """Batch the calls of one turn of the loop: nothing is waited for."""
    from aiodataloader import DataLoader

    return DataLoader(serve, cache=False, max_batch_size=MOST).load


def async_batcher(serve: Serve, wait: float) -> Func:
    from async_batcher.batcher import AsyncBatcher

    class Batcher(AsyncBatcher[int, int]):
        async def process_batch(self, batch: list[int]) -> list[int]:
            return await serve(batch)

    return Batcher(max_batch_size=MOST, max_queue_time=wait, concurrency=1).process


def batched(serve: Serve, wait: float) -> Func:
    from batched import aio

    return aio.dynamically(batch_size=MOST, timeout_ms=wait * 1000)(serve)


WAITS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016)
EAGER = {"dike": dike, "aiodataloader": aiodataloader}
TIMED = {
    "dike, without dispatch_when_idle": dike_waiting,
    "dike 1.0.1": older_dike,
    "async-batcher": async_batcher,
    "batched": batched,
}


def run(quick: bool) -> dict[str, Any]:
    count = 3_000 if quick else 30_000
    waits = WAITS[2::2] if quick else WAITS
    schedules = {load: arrivals(load, count, seed=7) for load in LOADS}
    best = {load: percentile(ideal(times), 0.99) for load, times in schedules.items()}

    contenders: dict[str, list[Callable[[Serve], Func]]] = {name: [make] for name, make in EAGER.items()}
    for name, timed in TIMED.items():
        contenders[name] = [lambda serve, timed=timed, wait=wait: timed(serve, wait) for wait in waits]  # type: ignore[misc]

    async def serve(rows: list[int]) -> list[int]:
        return rows

    rows, lines = [], {}
    for name in list(contenders):
        try:
            virtual_clock.run(latencies(contenders[name][0], schedules[LOADS[0]][:10]))
        except ImportError as exc:
            print(f"  without {name}: {exc}")
            continue
        ratios = [
            min(percentile(virtual_clock.run(latencies(make, times)), 0.99) / best[load] for make in contenders[name])
            for load, times in schedules.items()
        ]
        rows.append([name, *ratios])
        lines[name] = [[load * 100, ratio] for load, ratio in zip(LOADS, ratios, strict=True)]
    rows.sort(key=lambda row: max(row[1:]))
    return {
        "title": "Batch policy",
        "about": (
            f"{count:,} Poisson arrivals on virtual time, at shares of the capacity of a server that takes "
            f"{FIXED * 1e3:g} ms and {PER_ROW * 1e3:g} ms a row, one batch at a time, {MOST} rows at most. The 99th "
            "percentile of the latencies, over that of an ideal policy for the same arrivals. Contenders with a "
            f"waiting time: the best of {', '.join(f'{wait * 1e3:g}' for wait in waits)} ms at each load."
        ),
        "tables": [
            {
                "caption": "p99 over the ideal, by load",
                "columns": ["contender", *(f"{load:.0%}" for load in LOADS)],
                "rows": [["ideal, p99 in ms", *(best[load] * 1e3 for load in LOADS)], *rows],
            }
        ],
        "targets": [
            [f"p99 over the ideal at {load:.0f} % load", ratio, "<=", 1.05] for load, ratio in lines.get("dike", ())
        ],
        "plots": [
            {
                "name": "policy",
                "caption": "p99 of the latency over that of the ideal policy, where it is below 3",
                "x": "load, % of capacity",
                "y": "ratio",
                "log": "",
                "lines": {name: points for name, points in lines.items() if max(ratio for _, ratio in points) < 3},
            }
        ],
    }
