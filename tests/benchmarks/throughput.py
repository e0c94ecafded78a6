"""Many concurrent calls of one row: what batching costs a call, and whether it costs more when more wait."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import batchers, measure

SIZE = 100  # rows of a batch; each number of calls is a multiple


async def nothing(rows: Any) -> Any:
    return rows


async def all_at_once(batched: batchers.Func, calls: list[Any]) -> float:
    """Return the seconds per call."""
    start = time.process_time()
    await asyncio.gather(*(batched(rows) for rows in calls))
    return (time.process_time() - start) / len(calls)


def measured(makers: dict[str, batchers.Make], calls: list[Any], size: int, rounds: int) -> dict[str, list[float]]:
    with contextlib.ExitStack() as stack:

        def turn(batched: batchers.Func) -> Callable[[], float]:
            # A loop of its own, since some contenders leave a worker behind that polls.
            runner = stack.enter_context(asyncio.Runner())

            def timed() -> float:
                with measure.no_garbage_collection():
                    return runner.run(all_at_once(batched, calls))

            timed()
            return timed

        return measure.interleave({name: turn(make(nothing, size)) for name, make in makers.items()}, rounds)


def joining_alone(calls: list[Any], size: int) -> float:
    """Return the seconds per call that joining arrays and slicing the result take, with nothing around them."""
    start = time.process_time()
    for first in range(0, len(calls), size):
        joined = np.concatenate(calls[first : first + size])
        for row in range(size):
            joined[row : row + 1].copy()
    return (time.process_time() - start) / len(calls)


def run(quick: bool) -> dict[str, Any]:
    sizes = {1_000: 12, 10_000: 3} if quick else {1_000: 40, 10_000: 10, 20_000: 10, 100_000: 3}
    most = max(sizes)
    kinds = {
        "lists": (batchers.LISTS, [[i] for i in range(most)]),
        "rows of 128 float32": (batchers.ARRAYS, list(np.zeros((most, 1, 128), np.float32))),
        "items": (batchers.ITEMS, list(range(most))),
    }
    tables, targets, plots = [], [], []
    for kind, (contenders, calls) in kinds.items():
        makers = {"tasks alone": batchers.no_batching, **batchers.checked(contenders, calls[:4])}
        times = {count: measured(makers, calls[:count], SIZE, rounds) for count, rounds in sizes.items()}
        tables.append(
            measure.by_size(
                f"{kind}, batches of {SIZE}: us per call, and ratio to the hand-written batcher", times, "hand-written"
            )
        )
        plots.append(
            {
                "name": f"throughput-{kind.split()[0]}",
                "caption": f"A call's cost, by the number of calls that wait: {kind}",
                "x": "calls",
                "y": "us per call",
                "log": "x",
                "lines": measure.lines(times),
            }
        )
        if "dike" in makers:
            count = 20_000 if 20_000 in times else most
            reference = "hand-written, with copies" if "hand-written, with copies" in makers else "hand-written"
            targets.append(
                [
                    f"{kind}, {count:,} calls, over {reference}",
                    measure.ratio(times[count], "dike", reference),
                    "<=",
                    1.2,
                ]
            )
            targets.append(
                [
                    f"{kind}, growth from {min(sizes):,} to {most:,} over that of hand-written",
                    measure.growth(times, "dike", "hand-written"),
                    "<=",
                    1.2,
                ]
            )
    arrays = kinds["rows of 128 float32"][1][:10_000]
    alone = sorted(joining_alone(arrays, SIZE) for _ in range(9))[4]
    tables.append(
        {
            "caption": "numpy alone: np.concatenate, and a copy of each caller's slice",
            "columns": ["what", "us per call"],
            "rows": [["np.concatenate and slices", alone * 1e6]],
        }
    )
    return {
        "title": "Batch throughput",
        "about": (
            "Concurrent calls of one row each, every call a task made by one `gather`, of a function that does "
            "nothing. Whole processor times per call, the task included, without garbage collection. dike gives the "
            "function and each caller arrays of their own, so for arrays it is held against a hand-written batcher "
            "that copies as well; the other one hands out views, which keep the whole batch in memory."
        ),
        "tables": tables,
        "targets": targets,
        "plots": plots,
    }
