"""The site's pictures, drawn from what the packages really do on virtual time.

The build runs this. To draw them alone: `python docs/pictures.py DIRECTORY`.
"""

import asyncio
import itertools
import logging
import random
import runpy
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from dike_batch import batch
from dike_limit import AdaptiveLimit, TooManyCalls, limit_jobs
from dike_retry import FailedAttempt, RetryBudget, retry
from matplotlib.axes import Axes
from matplotlib.figure import Figure

run_on_virtual_time = runpy.run_path(str(Path(__file__).parents[1] / "tests" / "virtual_clock.py"))["run"]


class Look(NamedTuple):
    """The colors of a variant."""

    text: str
    faint: str
    series: list[str]


LOOKS = {
    "light": Look("#33373d", "#d5d9de", ["#0b6e8a", "#c2571a", "#4c8c2b", "#7a4fb5"]),
    "dark": Look("#d6dbe0", "#4a5058", ["#5ec4dd", "#f0965a", "#93cf6c", "#c3a0f0"]),
}


# Delays over attempts


def delays(**options: Any) -> list[float]:
    """Return what `retry` slept before each of seven retries."""
    slept: list[float] = []

    def note(attempt: FailedAttempt) -> None:
        if attempt.delay is not None:
            slept.append(attempt.delay)

    @retry(attempts=8, on_failure=note, log_exception_info=False, **options)
    async def fail() -> None:
        raise ConnectionError

    async def main() -> None:
        with suppress(ConnectionError):
            await fail()

    run_on_virtual_time(main())
    return slept


def simulate_retry_delays() -> Any:
    random.seed(0)
    lines = {
        "delay=4": delays(delay=4),
        "delay=0.5, backoff=2": delays(delay=0.5, backoff=2),
        "delay=0.5, backoff=2,\nmax_delay=8": delays(delay=0.5, backoff=2, max_delay=8),
    }
    clouds = {
        jitter: [delays(delay=0.5, backoff=2, max_delay=8, jitter=jitter) for _ in range(60)] for jitter in (1, 0.25)
    }
    return lines, clouds


def draw_retry_delays(figure: Figure, look: Look, data: Any) -> None:
    lines, clouds = data
    left, right = figure.subplots(1, 2, sharey=True)
    retries = range(1, 8)
    for (label, slept), color, marker in zip(lines.items(), look.series, "o^s", strict=False):
        left.plot(retries, slept, marker=marker, markersize=5, color=color, label=label)
    left.set(xlabel="retry", ylabel="seconds slept before it", xticks=retries, ylim=(0, 17))
    left.legend(loc="upper left")
    spread = random.Random(1)
    for (jitter, sleeps), color, shift in zip(clouds.items(), look.series, (-0.18, 0.18), strict=False):
        x = [retry + shift + spread.uniform(-0.13, 0.13) for _ in sleeps for retry in retries]
        right.scatter(x, [s for slept in sleeps for s in slept], s=7, alpha=0.7, color=color, label=f"jitter={jitter}")
    right.set(xlabel="retry", xticks=retries, title="delay=0.5, backoff=2, max_delay=8")
    right.legend(loc="upper left")


# Requests at a backend that is down

RATE, DOWN, LENGTH = 100, (5.0, 15.0), 25


def requests_per_call(**options: Any) -> list[float]:
    """Return, for each second, the requests that reach the backend over the calls of that second."""
    requests = [0] * (LENGTH + 5)
    random.seed(0)

    @retry(attempts=4, delay=0.1, backoff=2, jitter=1, log_exception_info=False, **options)
    async def call() -> None:
        now = asyncio.get_running_loop().time()
        requests[int(now)] += 1
        await asyncio.sleep(0.02)
        if DOWN[0] <= now < DOWN[1]:
            raise ConnectionError

    async def client(start: float) -> None:
        await asyncio.sleep(start)
        with suppress(ConnectionError):
            await call()

    async def main() -> None:
        await asyncio.gather(*(client(n / RATE) for n in range(RATE * LENGTH)))

    run_on_virtual_time(main())
    return [count / RATE for count in requests[:LENGTH]]


def simulate_retry_amplification() -> Any:
    return {
        "without a budget": requests_per_call(),
        "budget=RetryBudget()": requests_per_call(budget=RetryBudget()),
    }


def draw_retry_amplification(figure: Figure, look: Look, data: Any) -> None:
    axes = figure.subplots()
    axes.axvspan(*DOWN, color=look.faint, alpha=0.5, linewidth=0)
    axes.text(sum(DOWN) / 2, 4.25, "backend is down", ha="center", color=look.text)
    for (label, ratio), color in zip(data.items(), reversed(look.series[:2]), strict=True):
        axes.stairs(ratio, range(LENGTH + 1), baseline=None, color=color, linewidth=2, label=label)
    axes.set(xlabel="seconds", ylabel="requests per call", ylim=(0, 4.6), xlim=(0, LENGTH))
    axes.legend(loc="center right")


# Goodput over load

WORKERS, SERVICE_TIME, PATIENCE = 20, 0.1, 1.0
CAPACITY = WORKERS / SERVICE_TIME
LOADS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0)


def serve(load: float, protect: Callable[[Callable[[], Awaitable[None]]], Any], seconds: float = 25) -> Any:
    """Return the goodput (over the capacity) and the 99th percentile of the latency under a Poisson load."""
    chance = random.Random(0)
    latencies: list[float] = []
    warm_up = 5.0

    async def main() -> None:
        workers = asyncio.Semaphore(WORKERS)
        now = asyncio.get_running_loop().time

        @protect
        async def handle() -> None:
            async with workers:
                await asyncio.sleep(chance.uniform(0.5, 1.5) * SERVICE_TIME)

        async def client() -> None:
            start = now()
            try:
                await handle()
            except TooManyCalls:
                return
            if start >= warm_up:
                latencies.append(now() - start)

        async with asyncio.TaskGroup() as clients:
            while now() < seconds:
                clients.create_task(client())
                await asyncio.sleep(chance.expovariate(load * CAPACITY))

    run_on_virtual_time(main())
    in_time = sum(latency <= PATIENCE for latency in latencies)
    latencies.sort()
    return in_time / (seconds - warm_up) / CAPACITY, latencies[int(0.99 * len(latencies))]


def simulate_goodput() -> Any:
    return {
        "no limit": [serve(load, lambda function: function) for load in LOADS],
        "limit=30": [serve(load, limit_jobs(limit=30)) for load in LOADS],
        "limit=AdaptiveLimit()": [serve(load, limit_jobs(limit=AdaptiveLimit())) for load in LOADS],
    }


def draw_goodput(figure: Figure, look: Look, data: Any) -> None:
    left, right = figure.subplots(1, 2)
    colors = [look.series[1], look.series[0], look.series[2]]
    for (label, points), color, marker in zip(data.items(), colors, "^os", strict=True):
        goodput, p99 = zip(*points, strict=True)
        for axes, figures in ((left, goodput), (right, p99)):
            axes.plot(LOADS, figures, marker=marker, markersize=4, color=color, label=label)
    left.plot([0, 1, 3], [0, 1, 1], color=look.faint, linestyle="--", zorder=0, label="ideal")
    left.set(xlabel="load / capacity", ylabel="answered in time / capacity", ylim=(0, 1.1))
    left.legend(loc="center right")
    right.axhline(PATIENCE, color=look.faint, linestyle="--", zorder=0)
    right.text(2.0, PATIENCE * 1.15, "callers give up", color=look.text)
    right.set(xlabel="load / capacity", ylabel="latency in seconds, slowest 1 %", yscale="log", ylim=(0.1, 100))
    right.yaxis.set_major_formatter("{x:g}")


# A time line of batches

ARRIVALS = (0, 2, 3, 20, 21, 22, 24, 26, 27, 29, 30, 55)
WAITING: dict[str, Any] = {"target_batch_size": 100, "max_waiting_time": 0.01}
POLICIES: list[dict[str, Any]] = [
    {"target_batch_size": 4, "max_waiting_time": 1},
    WAITING,
    WAITING | {"max_concurrent_batches": 1},
    WAITING | {"max_concurrent_batches": 1, "dispatch_when_idle": True},
    WAITING | {"max_concurrent_batches": 1, "dispatch_when_idle": True, "target_batch_size": 4, "max_batch_size": 4},
]


def time_line(options: dict[str, Any]) -> list[tuple[float, float, list[float]]]:
    """Return start, end and the arrivals of the calls of each batch, in milliseconds."""
    batches = []

    @batch(**options)
    async def work(arrivals: list[float]) -> list[float]:
        now = asyncio.get_running_loop().time
        start = now()
        await asyncio.sleep(0.009 + 0.001 * len(arrivals))
        batches.append((start * 1000, now() * 1000, arrivals))
        return arrivals

    async def call(arrival: float) -> None:
        await asyncio.sleep(arrival / 1000)
        await work([arrival])

    async def main() -> None:
        await asyncio.gather(*map(call, ARRIVALS))

    run_on_virtual_time(main())
    return batches


def simulate_batch_timeline() -> Any:
    return [
        (", ".join(f"{name}={value}" for name, value in options.items()), time_line(options)) for options in POLICIES
    ]


def draw_batch_timeline(figure: Figure, look: Look, data: Any) -> None:
    figure.set_size_inches(8, 8)
    rows = figure.subplots(len(data), 1, sharex=True)
    for axes, (label, batches), color in zip(rows, data, itertools.cycle(look.series), strict=False):
        draw_batches(axes, look, color, batches)
        axes.set_title(label, loc="left")
    rows[-1].set_xlabel("milliseconds")


def draw_batches(axes: Axes, look: Look, color: str, batches: Any) -> None:
    height = {arrival: len(ARRIVALS) - n for n, arrival in enumerate(ARRIVALS)}
    for start, end, arrivals in batches:
        top, bottom = height[arrivals[0]], height[arrivals[-1]]
        shown_end = min(end, 84.0)
        axes.barh((top + bottom) / 2, shown_end - start, top - bottom + 0.9, start, color=color, alpha=0.35)
        if start < 80:
            axes.text((start + shown_end) / 2, (top + bottom) / 2, len(arrivals), ha="center", va="center")
        for arrival in arrivals:
            axes.plot([arrival, min(start, 84)], [height[arrival]] * 2, color=color, linewidth=1)
            axes.plot(arrival, height[arrival], "o", color=color, markersize=3.5)
    axes.set(xlim=(-2, 84), ylim=(0, len(ARRIVALS) + 1), yticks=[])
    axes.spines["left"].set_visible(False)


def draw_all(directory: Path) -> None:
    """Draw each picture in its two variants into `directory`."""
    logging.getLogger("dike").disabled = True
    directory.mkdir(parents=True, exist_ok=True)
    pictures = {
        "retry-delays": (simulate_retry_delays, draw_retry_delays),
        "retry-amplification": (simulate_retry_amplification, draw_retry_amplification),
        "goodput": (simulate_goodput, draw_goodput),
        "batch-timeline": (simulate_batch_timeline, draw_batch_timeline),
    }
    for name, (simulate, draw) in pictures.items():
        data = simulate()
        for variant, look in LOOKS.items():
            with plt.rc_context(style(look, name)):
                figure = plt.figure(figsize=(8, 3.2), layout="constrained")
                draw(figure, look, data)
                figure.savefig(directory / f"{name}-{variant}.svg", transparent=True, metadata={"Date": None})
                plt.close(figure)


def style(look: Look, name: str) -> dict[str, Any]:
    """Return matplotlib's settings for a look."""
    return {
        "axes.edgecolor": look.faint,
        "axes.labelcolor": look.text,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": look.text,
        "axes.titlesize": 9,
        "font.size": 9,
        "legend.frameon": False,
        "legend.labelcolor": look.text,
        "svg.hashsalt": name,
        "text.color": look.text,
        "xtick.color": look.text,
        "ytick.color": look.text,
    }


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
