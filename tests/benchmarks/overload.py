"""Overload: goodput, latency and limit in front of a service whose load and speed change, on virtual time.

The service has workers and an endless queue, as has a process pool, or a database behind a connection pool. It takes
calls in order of arrival, each occupies a worker for an exponential time. Calls come at random (Poisson). Those that
are refused are lost. Goodput counts the calls that succeed within ten times the mean service time of the moment. The
decorator, the event loop and its tasks are the real ones; only the clock is virtual.
"""

import asyncio
import heapq
import math
import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import virtual_clock
from dike_limit import AdaptiveLimit, TooManyCalls, limit_jobs

from benchmarks.overload_peers import AIMD, Adaptive, Call, DriftingVegas, Gradient2, Vegas, limited


@dataclass(frozen=True)
class Phase:
    """A stretch of time in which nothing changes but by chance.

    Attributes:
        name: What it is called in tables.
        seconds: How long it is.
        load: Calls per second, in multiples of what the service can do.
        workers: How many calls the service works on at the same time.
        mean: The mean service time in seconds.
        hangs: Whether the service answers nothing at all.
    """

    name: str
    seconds: int
    load: float
    workers: int = 20
    mean: float = 0.05
    hangs: bool = False

    @property
    def capacity(self) -> float:
        """Calls per second that the service can do."""
        return self.workers / self.mean


@dataclass
class Second:
    """What was seen in one second."""

    limit: float = math.nan
    good: int = 0
    latencies: list[float] = field(default_factory=list)


def steps(part: float) -> list[Phase]:
    """Return the phases of the main scenario, or a part of each."""
    return [
        Phase("0.5x", round(30 * part), 0.5),
        Phase("1x", round(30 * part), 1),
        Phase("2x", round(60 * part), 2),
        Phase("5x", round(20 * part), 5),
        Phase("4x slower, 2x", round(60 * part), 2, mean=0.2),
        Phase("as before, 2x", round(60 * part), 2),
    ]


SCENARIOS: dict[str, list[Phase]] = {
    "steps": steps(1),
    "steps, quick": steps(0.4),
    "lasting overload": [Phase(f"{minute} min", 120, 2, mean=0.2) for minute in range(2, 13, 2)],
    "fewer workers": [
        Phase("20 workers", 30, 2),
        Phase("5 workers", 60, 2, workers=5),
        Phase("20 again", 60, 2),
    ],
    "scale-up": [
        Phase("20 workers", 30, 2, mean=0.2),
        Phase("2,000: 0 to 10 s", 10, 0.2, workers=2000, mean=0.2),
        Phase("10 to 20 s", 10, 0.2, workers=2000, mean=0.2),
        Phase("20 to 30 s", 10, 0.2, workers=2000, mean=0.2),
        Phase("30 to 40 s", 10, 0.2, workers=2000, mean=0.2),
    ],
    "time-outs": [
        Phase("before", 30, 2),
        Phase("it hangs", 60, 2, hangs=True),
        Phase("0 to 10 s after", 10, 2),
        Phase("10 to 20 s", 10, 2),
        Phase("20 to 60 s", 40, 2),
    ],
    "2 workers": [
        Phase("0.5x", 60, 0.5, workers=2),
        Phase("2x", 60, 2, workers=2),
        Phase("4x slower, 2x", 60, 2, workers=2, mean=0.2),
        Phase("as before, 2x", 60, 2, workers=2),
    ],
}


class Service:
    """Workers with an endless queue before them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        self._loop = loop
        self._rng = rng
        self._free: list[float] = []

    def change(self, phase: Phase) -> None:
        """Enter a phase. Workers that are taken away finish their queue first."""
        self._phase = phase
        self._free = sorted(self._free)[: phase.workers]
        self._free += [self._loop.time()] * (phase.workers - len(self._free))
        heapq.heapify(self._free)

    async def __call__(self) -> None:
        """Serve a call."""
        if self._phase.hangs:
            async with asyncio.timeout(1):
                await asyncio.sleep(math.inf)
        now = self._loop.time()
        ready = max(now, self._free[0]) + self._rng.expovariate(1 / self._phase.mean)
        heapq.heapreplace(self._free, ready)
        await asyncio.sleep(ready - now)


Contender = Callable[[Call], tuple[Call, Callable[[], float]]]


def dike(call: Call) -> tuple[Call, Callable[[], float]]:
    """Take the real decorator."""
    limiter = limit_jobs(limit=AdaptiveLimit())

    @limiter
    async def limited_call() -> None:
        await call()

    return limited_call, lambda: limiter.limit


def fixed(limit: float) -> Contender:
    """Take the real decorator with a number."""

    def contender(call: Call) -> tuple[Call, Callable[[], float]]:
        @limit_jobs(limit=limit)
        async def limited_call() -> None:
            await call()

        return limited_call, lambda: limit

    return contender


def adaptive(make: Callable[[], Adaptive]) -> Contender:
    """Take one of the others."""

    def contender(call: Call) -> tuple[Call, Callable[[], float]]:
        made = make()
        return limited(made, call), lambda: made.limit

    return contender


CONTENDERS: dict[str, Contender] = {
    "dike, AdaptiveLimit()": dike,
    "no limit": fixed(math.inf),
    "fixed, 24": fixed(24),
    "fixed, 200": fixed(200),
    "AIMD, late after 5x the mean": adaptive(lambda: AIMD(0.25)),
    "Gradient2, at least 20": adaptive(Gradient2),
    "Gradient2, at least 1": adaptive(lambda: Gradient2(1)),
    "Vegas of Netflix": adaptive(Vegas),
    "Vegas with a drifting base": adaptive(DriftingVegas),
}
# Those worth a look where the service is the hard part.
CHOSEN = (
    "dike, AdaptiveLimit()",
    "fixed, 24",
    "Gradient2, at least 1",
    "Vegas of Netflix",
    "Vegas with a drifting base",
)


async def play(contender: Contender, phases: list[Phase], seed: int) -> list[Second]:
    """Return what is seen in each second of a scenario."""
    loop = asyncio.get_running_loop()
    rng = random.Random(seed)
    service = Service(loop, random.Random(seed + 1_000_000))
    call, limit = contender(service)
    seconds = [Second() for _ in range(sum(phase.seconds for phase in phases))]
    start = loop.time()
    tasks: set[asyncio.Task[None]] = set()

    async def visit(mean: float) -> None:
        began = loop.time()
        try:
            await call()
        except (TooManyCalls, TimeoutError):
            return
        latency = loop.time() - began
        if latency <= 10 * mean and (second := int(loop.time() - start)) < len(seconds):
            seconds[second].good += 1
        seconds[int(began - start)].latencies.append(latency)

    now = end = 0.0
    for phase in phases:
        now, end = end, end + phase.seconds
        service.change(phase)
        rate = phase.load * phase.capacity
        while (now := now + rng.expovariate(rate)) < end:
            await asyncio.sleep(start + now - loop.time())
            if math.isnan(seconds[int(now)].limit):
                seconds[int(now)].limit = limit()
            task = asyncio.create_task(visit(phase.mean))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(start + end - loop.time())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seconds


def simulate(scenario: str, contender: str, seed: int) -> dict[str, Any]:
    """Return for each phase goodput, p99 and limit; and goodput and limit for each second."""
    phases = SCENARIOS[scenario]
    seconds = virtual_clock.run(play(CONTENDERS[contender], phases, seed))
    result: dict[str, Any] = {"phases": [], "limit": [], "goodput": []}
    begin = 0
    for phase in phases:
        part = seconds[begin : begin + phase.seconds]
        possible = 0.0 if phase.hangs else min(1, phase.load) * phase.capacity
        latencies = sorted(latency for second in part for latency in second.latencies)
        result["phases"].append(
            {
                "goodput": 100 * sum(second.good for second in part) / (possible * phase.seconds) if possible else None,
                "p99": latencies[int(len(latencies) * 0.99)] / phase.mean if latencies and possible else None,
                "limit": sum(second.limit for second in part) / phase.seconds,
                "last": part[-1].limit,
            }
        )
        result["limit"] += [second.limit for second in part]
        result["goodput"] += [100 * second.good / possible if possible else 0.0 for second in part]
        begin += phase.seconds
    return result


def simulate_all(jobs: list[tuple[str, str, int]]) -> list[dict[str, Any]]:
    """Simulate on all processors: time is virtual, so the results do not depend on it."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        return list(pool.map(simulate, *zip(*jobs, strict=True)))


def worst(runs: list[dict[str, Any]], phase: int, what: str) -> float | None:
    """Return the worst goodput or p99 of all seeds, or the mean limit."""
    values = [run["phases"][phase][what] for run in runs if run["phases"][phase][what] is not None]
    if not values:
        return None
    if what == "goodput":
        return min(values)
    return max(values) if what == "p99" else sum(values) / len(values)


def tables(scenario: str, runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Make tables of goodput, p99 and limit."""
    names = [phase.name for phase in SCENARIOS[scenario]]
    title = scenario.removesuffix(", quick").capitalize()
    captions = {
        "goodput": f"{title}: goodput, % of what is possible, worst of the seeds",
        "p99": f"{title}: p99 of the latency in multiples of the mean service time, worst of the seeds",
        "limit": f"{title}: mean limit",
    }
    return [
        {
            "caption": caption,
            "columns": ["contender", *names],
            "rows": [[name, *(worst(those, i, what) for i in range(len(names)))] for name, those in runs.items()],
        }
        for what, caption in captions.items()
    ]


def run(quick: bool) -> dict[str, Any]:
    """Run all scenarios; the quick run has one seed and only the main one."""
    main = "steps, quick" if quick else "steps"
    seeds = range(1 if quick else 5)
    wanted = [(main, name) for name in (CHOSEN if quick else CONTENDERS)]
    if not quick:
        wanted += [(other, name) for other in SCENARIOS if not other.startswith("steps") for name in CHOSEN]
    jobs = [(scenario, name, seed) for scenario, name in wanted for seed in seeds]
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for (scenario, name, _), result in zip(jobs, simulate_all(jobs), strict=True):
        runs.setdefault(scenario, {}).setdefault(name, []).append(result)

    ours = runs[main]["dike, AdaptiveLimit()"]
    targets = [
        ["goodput at 2x the capacity, %", worst(ours, 2, "goodput"), ">=", 97],
        ["goodput at 5x, %", worst(ours, 3, "goodput"), ">=", 97],
        ["goodput while the service is 4x slower, %", worst(ours, 4, "goodput"), ">=", 85],
        [
            "seconds until 90 % of the capacity is back after that",
            max(recovery(main, 5, run) for run in ours),
            "<=",
            30,
        ],
    ]
    if not quick:
        stopped = runs["time-outs"]["dike, AdaptiveLimit()"]
        targets.append(
            ["the same after a minute of time-outs", max(recovery("time-outs", 2, run) for run in stopped), "<=", 30]
        )
    first = {name: those[0] for name, those in runs[main].items()}
    shown = [name for name in first if name not in ("no limit", "fixed, 24")]
    return {
        "title": "Overload",
        "about": (
            f"A service of 20 workers and 50 ms on average, exponentially distributed, on virtual time; {len(seeds)} "
            "seeds. Goodput: calls that succeed within ten times the mean service time of the moment. Calls come at "
            "random, and those refused do not come again. Of the others' limits the formulas are taken, written anew."
        ),
        "tables": [table for scenario, those in runs.items() for table in tables(scenario, those)],
        "targets": targets,
        "plots": [
            {
                "name": "overload-limit",
                "caption": f"The limit: {', then '.join(phase.name for phase in SCENARIOS[main])}",
                "x": "time, s",
                "y": "limit",
                "log": "y",
                "lines": {name: [[i, y] for i, y in enumerate(first[name]["limit"])] for name in shown},
            },
            {
                "name": "overload-goodput",
                "caption": "Goodput in the same run, mean of five seconds",
                "x": "time, s",
                "y": "% of what is possible",
                "log": "",
                "lines": {name: smooth(first[name]["goodput"], 5) for name in shown},
            },
        ],
    }


def recovery(scenario: str, phase: int, result: dict[str, Any]) -> int:
    """Return after how many seconds of a phase the goodput of five seconds is 90 % of what is possible."""
    begin = sum(phase.seconds for phase in SCENARIOS[scenario][:phase])
    goodput = result["goodput"][begin:]
    return next((i for i in range(len(goodput) - 5) if sum(goodput[i : i + 5]) >= 450), len(goodput))


def smooth(values: list[float], width: int) -> list[list[float]]:
    """Return means of so many values in a row."""
    return [[i, sum(values[i : i + width]) / width] for i in range(0, len(values) - width + 1, width)]


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import show

    show(run("--quick" in sys.argv))
