"""When a batch leaves: latencies under Poisson arrivals, beside an ideal policy that never lets the server idle.

The server takes a fixed time and a time per row, one batch at a time, as a model on an accelerator does. Time is
virtual, so the result depends on the policies alone, not on how quick the code is or how busy the machine.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
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


def dike(serve: Serve, wait: float = 10.0) -> Func:
    """Dispatch when idle: no waiting time is ever up."""
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

    # Where it falls behind, it shall be slow and not give up.
    batched = batch(target_batch_size=MOST, max_waiting_time=wait, max_processing_time=3600.0)(serve)

    async def single(item: int) -> int:
        return (await batched([item]))[0]

    return single


def aiodataloader(serve: Serve, wait: float) -> Func:
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


WAITS = (0.001, 0.002, 0.005, 0.010, 0.020)
USUAL = 0.010  # if one must do for all loads
CONTENDERS: dict[str, Callable[..., Func]] = {
    "dike": dike,
    "dike, without dispatch_when_idle": dike_waiting,
    "dike 1.0.1": older_dike,
    "aiodataloader": aiodataloader,
    "async-batcher": async_batcher,
    "batched": batched,
}
WAITING = CONTENDERS.keys() - {"dike", "aiodataloader"}


def compared(make: Callable[[Serve], Func], schedules: dict[float, list[float]]) -> list[tuple[float, float]]:
    """Return for each load the 99th percentile and the mean of the latencies, over those of the ideal."""
    results = []
    for times in schedules.values():
        own, best = virtual_clock.run(latencies(make, times)), ideal(times)
        results.append((percentile(own, 0.99) / percentile(best, 0.99), sum(own) / sum(best)))
    return results


def run(quick: bool) -> dict[str, Any]:
    count = 3_000 if quick else 20_000
    waits = (0.002, USUAL) if quick else WAITS
    schedules = {load: arrivals(load, count, seed=7) for load in LOADS}

    # For each contender and waiting time the results by load; one that does not wait has the same for all times.
    results: dict[str, list[list[tuple[float, float]]]] = {}
    for name, make in CONTENDERS.items():
        try:
            virtual_clock.run(latencies(partial(make, wait=USUAL), schedules[LOADS[0]][:10]))
        except ImportError as exc:
            print(f"  without {name}: {exc}")
            continue
        own_waits = waits if name in WAITING else [USUAL]
        results[name] = [compared(partial(make, wait=wait), schedules) for wait in own_waits]
    best = {name: [min(at_load) for at_load in zip(*by_wait, strict=True)] for name, by_wait in results.items()}
    usual = {name: by_wait[waits.index(USUAL) if name in WAITING else 0] for name, by_wait in results.items()}
    p99 = {name: [ratio for ratio, _ in by_load] for name, by_load in best.items()}

    def table(caption: str, ratios: dict[str, list[float]]) -> dict[str, Any]:
        return {
            "caption": caption,
            "columns": ["contender", *(f"{load:.0%}" for load in LOADS)],
            "rows": [[name, *by_load] for name, by_load in sorted(ratios.items(), key=lambda pair: max(pair[1]))],
        }

    return {
        "title": "Batch policy",
        "about": (
            f"{count:,} Poisson arrivals on virtual time, at shares of the capacity of a server that takes "
            f"{FIXED * 1e3:g} ms and {PER_ROW * 1e3:g} ms a row, one batch at a time, {MOST} rows at most. Latencies "
            "are over those of an ideal policy for the same arrivals, which never lets the server idle. Contenders "
            f"with a waiting time have the best of {', '.join(f'{wait * 1e3:g}' for wait in waits)} ms at each load, "
            "if not said otherwise; what dike does with `dispatch_when_idle=True` needs none."
        ),
        "tables": [
            table("99th percentile over the ideal, by load", p99),
            table(
                f"99th percentile over the ideal, with a waiting time of {USUAL * 1e3:g} ms at all loads",
                {name: [ratio for ratio, _ in by_load] for name, by_load in usual.items()},
            ),
            table(
                "Mean over the ideal, by load",
                {name: [ratio for _, ratio in by_load] for name, by_load in best.items()},
            ),
        ],
        "targets": [
            [f"99th percentile over the ideal at {load:.0%} load", ratio, "<=", 1.05]
            for load, ratio in zip(LOADS, p99.get("dike", ()), strict=False)
        ],
        "plots": [
            {
                "name": "policy",
                "caption": f"99th percentile over the ideal, with a waiting time of {USUAL * 1e3:g} ms at all loads",
                "x": "load, % of capacity",
                "y": "ratio",
                "log": "",
                "lines": {
                    name: [[load * 100, ratio] for load, (ratio, _) in zip(LOADS, by_load, strict=True)]
                    for name, by_load in usual.items()
                    if max(by_load)[0] < 5
                },
            }
        ],
    }
