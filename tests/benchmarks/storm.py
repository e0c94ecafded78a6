"""The retry storm: what a dependency gets to bear that is down for ten seconds, on virtual time.

Calls come at random (Poisson), each may make four attempts with exponential backoff and full jitter, where the library
can do that. While the dependency is down it refuses at once; at other times it has some workers and a queue, can do
twice the usual load, and one request in a hundred fails by chance. The libraries themselves run; only the clock is
virtual.
"""

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import virtual_clock

from benchmarks import measure

BEFORE, DOWN, AFTER = 20.0, 10.0, 20.0
ATTEMPTS, DELAY = 4, 0.1
LATENCY, REFUSAL = 0.02, 0.001
BY_CHANCE = 0.01

Func = Callable[[], Awaitable[None]]


class Dependency:
    """Something far away that is down for a while.

    Attributes:
        requests: When each request came.
    """

    def __init__(self, load: float, rng: random.Random) -> None:
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._free = [0.0] * round(2 * load * LATENCY)
        self.start = self._loop.time()
        self.requests: list[float] = []

    async def __call__(self) -> None:
        """Answer a request."""
        now = self._loop.time() - self.start
        self.requests.append(now)
        if BEFORE <= now < BEFORE + DOWN:
            await asyncio.sleep(REFUSAL)
            raise ConnectionRefusedError
        ready = max(now, self._free[0]) + self._rng.expovariate(1 / LATENCY)
        heapq.heapreplace(self._free, ready)
        await asyncio.sleep(ready - now)
        if self._rng.random() < BY_CHANCE:
            raise ConnectionResetError


def no_retry(func: Func) -> Func:
    return func


def hand_written(func: Func) -> Func:
    async def retrying() -> None:
        for attempt in range(ATTEMPTS - 1):
            try:
                return await func()
            except OSError:
                await asyncio.sleep(random.uniform(0, DELAY * 2**attempt))
        return await func()

    return retrying


def dike(func: Func) -> Func:
    from dike_retry import retry

    return retry(attempts=ATTEMPTS, exception_types=OSError, delay=DELAY, backoff=2, jitter=1.0)(called(func))


def dike_with_budget(func: Func) -> Func:
    from dike_retry import RetryBudget, retry

    return retry(attempts=ATTEMPTS, exception_types=OSError, delay=DELAY, backoff=2, jitter=1.0, budget=RetryBudget())(
        called(func)
    )


def older_dike(func: Func) -> Func:
    from dike import retry

    delay = timedelta(seconds=DELAY)
    return retry(attempts=ATTEMPTS, exception_types=OSError, delay=delay, backoff=2)(called(func))


def hyx(func: Func) -> Func:
    from hyx.retry import retry
    from hyx.retry.backoffs import expo
    from hyx.retry.jitters import full

    # It counts the retries.
    return retry(on=OSError, attempts=ATTEMPTS - 1, backoff=expo(min_delay_secs=DELAY, base=2, jitter=full))(
        called(func)
    )


def backoff(func: Func) -> Func:
    from backoff import expo, on_exception

    return on_exception(expo, OSError, max_tries=ATTEMPTS, factor=DELAY)(called(func))


def stamina(func: Func) -> Func:
    from stamina import retry

    return retry(on=OSError, attempts=ATTEMPTS, timeout=None, wait_initial=DELAY, wait_jitter=DELAY)(called(func))


def tenacity(func: Func) -> Func:
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    return retry(
        retry=retry_if_exception_type(OSError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=DELAY),
        reraise=True,
    )(called(func))


def called(func: Func) -> Func:
    """Return a coroutine function: some libraries take nothing else."""

    async def call() -> None:
        await func()

    return call


MAKERS: dict[str, Callable[[Func], Func]] = {
    "no retry": no_retry,
    "dike, budget=RetryBudget()": dike_with_budget,
    "dike": dike,
    "dike 1.0.1": older_dike,
    "hand-written loop": hand_written,
    "hyx": hyx,
    "backoff": backoff,
    "stamina": stamina,
    "tenacity": tenacity,
}


async def play(make: Callable[[Func], Func], load: float, seed: int) -> dict[str, Any]:
    """Return what the dependency and its callers see."""
    rng = random.Random(seed)
    random.seed(seed)
    loop = asyncio.get_running_loop()
    dependency = Dependency(load, random.Random(seed + 1))
    call = make(dependency)
    start = dependency.start
    began: list[float] = []
    bad: list[tuple[float, float, bool]] = []
    usual = 10 * LATENCY

    async def visit(now: float) -> None:
        try:
            await call()
        except Exception:  # some wrap the last error in one of their own
            bad.append((now, loop.time() - start, True))
        else:
            if loop.time() - start - now > usual:
                bad.append((now, loop.time() - start, False))

    now = 0.0
    tasks = []
    while (now := now + rng.expovariate(load)) < BEFORE + DOWN + AFTER:
        await asyncio.sleep(start + now - loop.time())
        began.append(now)
        tasks.append(asyncio.create_task(visit(now)))
    await asyncio.gather(*tasks)

    up = BEFORE + DOWN
    calls_down = sum(BEFORE <= now < up for now in began)
    requests_down = sum(BEFORE <= now < up for now in dependency.requests)
    failed = sum(is_failed for now, _, is_failed in bad if now < BEFORE - 1 or now > up + 5)
    # Some calls fail by chance, or are retried, for ever: it is normal again when no more than usual do.
    tenths = [0.0] * int(10 * AFTER)
    for _, ended, _ in bad:
        if up <= ended < up + AFTER:
            tenths[int(10 * (ended - up))] += 1
    abnormal = [i for i, count in enumerate(tenths) if count > 3 + 0.1 * 0.1 * load]
    return {
        "requests": requests_down / calls_down,
        "normal": (abnormal[-1] + 1) / 10 if abnormal else 0.0,
        "failed": 100 * failed / sum(now < BEFORE - 1 or now > up + 5 for now in began),
        "rate": [sum(i <= now < i + 1 for now in dependency.requests) / load for i in range(int(up + AFTER))],
    }


def run(quick: bool) -> dict[str, Any]:
    load = 50.0 if quick else 100.0
    seeds = range(1 if quick else 5)
    rows, lines = [], {}
    logging.disable(logging.CRITICAL)
    try:
        for name in measure.available({name: lambda make=make: make for name, make in MAKERS.items()}):
            try:
                runs = [virtual_clock.run(play(MAKERS[name], load, seed)) for seed in seeds]
            except ImportError as exc:
                print(f"  without {name}: {exc}")
                continue
            rows.append([name, *(max(run[what] for run in runs) for what in ("requests", "normal", "failed"))])
            lines[name] = [[i, rate] for i, rate in enumerate(runs[0]["rate"])]
    finally:
        logging.disable(logging.NOTSET)
    budget = next(row for row in rows if "budget" in row[0])
    return {
        "title": "Retry storm",
        "about": (
            f"{load:.0f} calls a second to a dependency that is down for {DOWN:.0f} s; four attempts each, on virtual "
            f"time; the worst of {len(seeds)} seeds. One request in a hundred fails by chance at other times."
        ),
        "tables": [
            {
                "caption": "What the dependency has to bear, and what callers see",
                "columns": [
                    "contender",
                    "requests per call while down",
                    "s until normal",
                    "% of calls failed at other times",
                ],
                "rows": rows,
            }
        ],
        "targets": [
            ["requests per call while the dependency is down, with a budget", budget[1], "<=", 1.1],
            ["seconds from its recovery until all is normal, with a budget", budget[2], "<=", 1.0],
        ],
        "plots": [
            {
                "name": "storm",
                "caption": f"Requests per call; the dependency is down from second {BEFORE:.0f} to {BEFORE + DOWN:.0f}",
                "x": "time, s",
                "y": "requests per call",
                "log": "",
                "lines": lines,
            }
        ],
    }
