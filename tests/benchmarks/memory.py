"""What a call costs in memory while it waits, its task included."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import batchers, limiters

Argument = Callable[[int], tuple[Any, ...]]


async def held(call: Any, argument: Argument, count: int) -> float:
    """Return the bytes per call while all of them wait."""
    gc.collect()
    tracemalloc.start()
    waiting = asyncio.gather(*(call(*argument(i)) for i in range(count)), return_exceptions=True)
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if waiting.done():
        raise AssertionError("the calls did not wait")
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    return current / count


async def forever(*args: Any) -> None:
    await asyncio.get_running_loop().create_future()


def batching(contenders: dict[str, batchers.Make], argument: Argument, count: int) -> dict[str, float]:
    """Let calls wait for a batch that is never full."""
    makers = batchers.checked(contenders, [*argument(0), *argument(1), *argument(2), *argument(3)])
    return {
        name: asyncio.run(held(make(forever, 10 * count), argument, count))
        for name, make in makers.items()
        if "batched" not in name  # it polls for its batches, so its calls wait in another place
    }


def limiting(count: int) -> dict[str, float]:
    """Let calls wait for the only slot."""
    makers = limiters.checked(limiters.WAITING, limiters.check_waiting)
    return {name: asyncio.run(held(make(forever, 1), no_argument, count)) for name, make in makers.items()}


def no_argument(number: int) -> tuple[()]:
    return ()


def run(quick: bool) -> dict[str, Any]:
    count = 2_000 if quick else 20_000
    row = np.zeros((1, 128), np.float32)
    results = {
        "a list of one item": (batching(batchers.LISTS, lambda i: ([i],), count), "hand-written"),
        "a row of 128 float32": (batching(batchers.ARRAYS, lambda i: (row.copy(),), count), "hand-written"),
        "an item": (batching(batchers.ITEMS, lambda i: (i,), count), "hand-written"),
        "waiting for a slot": (limiting(count), "hand-written queue"),
    }
    bare = asyncio.run(held(forever, no_argument, count))
    return {
        "title": "Memory per pending call",
        "about": (
            f"{count:,} calls wait, made by one `gather`; bytes per call as `tracemalloc` counts them, with the task "
            f"and the argument. A bare task that waits for a future of its own takes {bare:,.0f}. dike copies what it "
            "is given, so that a caller may reuse its container: a row of 128 float32 is there twice."
        ),
        "tables": [
            {
                "caption": f"Bytes per call: {what}",
                "columns": ["contender", "bytes", f"ratio to {reference}"],
                "rows": [
                    [name, used, used / sizes[reference]]
                    for name, used in sorted(sizes.items(), key=lambda pair: pair[1])
                ],
            }
            for what, (sizes, reference) in results.items()
        ],
        "targets": [
            [f"{what}: bytes over the hand-written", sizes["dike"] / sizes[reference], "<=", 1.3]
            for what, (sizes, reference) in results.items()
            if "dike" in sizes and what in ("a list of one item", "an item")
        ],
    }
