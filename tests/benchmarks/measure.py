"""Fair timing on a machine that is busy with other things.

Contenders take turns, ratios are taken turn by turn, and what is counted is this process's time on a processor.
"""

import asyncio
import contextlib
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

Call = Callable[[], Awaitable[Any]]


def available(makers: dict[str, Callable[..., Any]], *args: Any) -> dict[str, Any]:
    """Make the contenders whose libraries are installed here."""
    made = {}
    for name, make in makers.items():
        try:
            made[name] = make(*args)
        except ImportError as exc:
            print(f"  without {name}: {exc}")
    return made


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect garbage now and not meanwhile, as `timeit` does: its cost depends on all else that the process holds."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interleave(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Let each contender take its own time once a round: A B C A B C ..."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            times[name].append(measure())
    return times


def per_call(
    calls: dict[str, Call],
    rounds: int,
    *,
    runner: asyncio.Runner,
    slice_seconds: float = 0.001,
    allowed: type[Exception] | None = None,
) -> dict[str, list[float]]:
    """Return the seconds that one `await call()` takes, for each contender and round.

    Args:
        calls: The contenders.
        rounds: How often each has its turn.
        runner: Where they run.
        slice_seconds: About how long a turn lasts.
        allowed: An exception that each call raises, if that is what is measured.
    """

    async def run(call: Call, count: int) -> float:
        start = time.process_time()
        if allowed is None:
            for _ in range(count):
                await call()
        else:
            for _ in range(count):
                try:  # noqa: SIM105 - suppress() costs more than what is measured
                    await call()
                except allowed:
                    pass
        return (time.process_time() - start) / count

    def turn(call: Call) -> Callable[[], float]:
        runner.run(run(call, 100))  # warm: caches and adaptive bytecode
        count = max(10, round(slice_seconds / runner.run(run(call, 100))))
        return lambda: runner.run(run(call, count))

    return interleave({name: turn(call) for name, call in calls.items()}, rounds)


def typical(times: dict[str, list[float]], name: str) -> float:
    """Return the median of a contender's times."""
    return statistics.median(times[name])


def ratios(times: dict[str, list[float]], name: str, reference: str) -> list[float]:
    """Return how much longer `name` took than `reference`, round by round."""
    return [own / other for own, other in zip(times[name], times[reference], strict=True)]


def ratio(times: dict[str, list[float]], name: str, reference: str) -> float:
    """Return the median of the ratios of all rounds."""
    return statistics.median(ratios(times, name, reference))


def table(
    caption: str, times: dict[str, list[float]], reference: str, *, unit: str = "ns", per_second: float = 1e9
) -> dict[str, Any]:
    """Make a table of medians, of ratios to a reference, and of the ratios' middle half, quickest first."""
    rows = []
    for name in sorted(times, key=lambda name: statistics.median(times[name])):
        low, middle, high = statistics.quantiles(ratios(times, name, reference), n=4)
        rows.append([name, statistics.median(times[name]) * per_second, middle, f"{low:.2f} to {high:.2f}"])
    return {
        "caption": caption,
        "columns": ["contender", f"median, {unit}", f"ratio to {reference}", "spread"],
        "rows": rows,
    }


def by_size(caption: str, times: dict[int, dict[str, list[float]]], reference: str) -> dict[str, Any]:
    """Make one table of measurements at several sizes: for each size the median in us and the ratio to a reference."""
    columns, last = ["contender"], times[max(times)]
    for size in times:
        columns += [f"{size:,}", "ratio"]
    rows: list[list[Any]] = []
    for name in sorted(last, key=lambda name: typical(last, name)):
        rows.append([name])
        for taken in times.values():
            rows[-1] += [typical(taken, name) * 1e6, ratio(taken, name, reference)]
    return {"caption": caption, "columns": columns, "rows": rows}


def lines(times: dict[int, dict[str, list[float]]]) -> dict[str, list[list[float]]]:
    """Make lines to plot, in us by size."""
    return {name: [[size, typical(taken, name) * 1e6] for size, taken in times.items()] for name in times[max(times)]}


def growth(times: dict[int, dict[str, list[float]]], name: str, reference: str) -> float:
    """Return by what factor the time at the largest size exceeds that at the smallest, over the same of a reference."""
    few, many = times[min(times)], times[max(times)]
    return typical(many, name) / typical(few, name) / (typical(many, reference) / typical(few, reference))
