"""Many tasks that wait for a few slots: what waiting costs, and whether it costs more when more wait."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from benchmarks import limiters, measure

SLOTS = 10


async def job() -> None:
    await asyncio.sleep(0)


def bare(func: limiters.Func, limit: int) -> limiters.Func:
    return func


async def all_at_once(limited: measure.Call, tasks: int) -> float:
    """Return the seconds per task."""
    start = time.process_time()
    await asyncio.gather(*(limited() for _ in range(tasks)))
    return (time.process_time() - start) / tasks


def measured(makers: dict[str, limiters.Make], tasks: int, rounds: int) -> dict[str, list[float]]:
    with contextlib.ExitStack() as stack:

        def turn(limited: measure.Call) -> Callable[[], float]:
            # A loop of its own, since some contenders leave a worker behind that polls.
            runner = stack.enter_context(asyncio.Runner())

            def timed() -> float:
                with measure.no_garbage_collection():
                    return runner.run(all_at_once(limited, tasks))

            timed()
            return timed

        return measure.interleave({name: turn(make(job, SLOTS)) for name, make in makers.items()}, rounds)


def run(quick: bool) -> dict[str, Any]:
    makers = {"bare tasks": bare, **limiters.checked(limiters.WAITING, limiters.check_waiting)}
    sizes = {1_000: 15, 10_000: 3} if quick else {1_000: 60, 10_000: 12, 100_000: 5}
    times = {tasks: measured(makers, tasks, rounds) for tasks, rounds in sizes.items()}

    targets = []
    if "dike" in makers:
        targets = [
            [f"{tasks:,} tasks, over asyncio.Semaphore", measure.ratio(taken, "dike", "asyncio.Semaphore"), "<=", 1]
            for tasks, taken in times.items()
        ]
        targets.append(
            [
                f"growth per task from {min(sizes):,} to {max(sizes):,}, over that of asyncio.Semaphore",
                measure.growth(times, "dike", "asyncio.Semaphore"),
                "<=",
                1.2,
            ]
        )
    return {
        "title": "Waiting for a slot",
        "about": (
            f"Tasks made by one `gather`, each of which needs one of {SLOTS} slots and holds it for one turn of the "
            "loop. Whole processor times per task, the task itself included, without garbage collection."
        ),
        "tables": [measure.by_size(f"us per task on {SLOTS} slots", times, "asyncio.Semaphore")],
        "targets": targets,
        "plots": [
            {
                "name": "contended",
                "caption": "A task's cost, by the number of tasks that wait",
                "x": "tasks",
                "y": "us per task",
                "log": "x",
                "lines": measure.lines(times),
            }
        ],
    }
