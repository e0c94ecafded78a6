"""Contenders that batch: each makes of a function of many rows one whose concurrent calls are put together.

Three kinds of calls, always of one row: ``f([x]) -> [y]``, ``f(array of shape (1, 128)) -> array`` and ``f(x) -> y``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from benchmarks import measure

Func = Callable[[Any], Awaitable[Any]]
Make = Callable[[Func, int], Func]
WAIT = 5.0  # seconds: never reached, since all calls come in whole batches


def hand_written(
    join: Callable[[list[Any]], Any],
    cut: Callable[[Any, int, int], Any],
    keep: Callable[[Any], Any] | None = None,
) -> Make:
    """Write the least that does the job: join, call, cut; each caller has a future, each batch a task and a timer."""

    def make(func: Func, size: int) -> Func:
        waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        running: set[asyncio.Task[None]] = set()
        timer: asyncio.TimerHandle | None = None

        async def process(entries: list[tuple[Any, asyncio.Future[Any]]]) -> None:
            try:
                results = await func(join([rows for rows, _ in entries]))
            except Exception as exc:
                for _, future in entries:
                    if not future.done():
                        future.set_exception(exc)
            else:
                start = 0
                for rows, future in entries:
                    stop = start + len(rows)
                    if not future.done():
                        future.set_result(cut(results, start, stop))
                    start = stop

        def send() -> None:
            nonlocal timer, waiting
            if timer is not None:
                timer.cancel()
                timer = None
            task = asyncio.get_running_loop().create_task(process(waiting))
            running.add(task)
            task.add_done_callback(running.discard)
            waiting = []

        async def batched(rows: Any) -> Any:
            nonlocal timer
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            waiting.append((rows if keep is None else keep(rows), future))
            if len(waiting) >= size:
                send()
            elif timer is None:
                timer = loop.call_later(WAIT, send)
            return await future

        return batched

    return make


def join_lists(parts: list[list[Any]]) -> list[Any]:
    return [row for rows in parts for row in rows]


def cut(rows: Any, start: int, stop: int) -> Any:
    return rows[start:stop]


def cut_copy(rows: Any, start: int, stop: int) -> Any:
    return rows[start:stop].copy()


def hand_written_items(func: Func, size: int) -> Func:
    """Write the least that does the job for items: nothing to join, nothing to cut."""
    waiting: list[tuple[Any, asyncio.Future[Any]]] = []
    running: set[asyncio.Task[None]] = set()
    timer: asyncio.TimerHandle | None = None

    async def process(entries: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        try:
            results = await func([item for item, _ in entries])
        except Exception as exc:
            for _, future in entries:
                if not future.done():
                    future.set_exception(exc)
        else:
            for (_, future), result in zip(entries, results, strict=True):
                if not future.done():
                    future.set_result(result)

    def send() -> None:
        nonlocal timer, waiting
        if timer is not None:
            timer.cancel()
            timer = None
        task = asyncio.get_running_loop().create_task(process(waiting))
        running.add(task)
        task.add_done_callback(running.discard)
        waiting = []

    async def batched(item: Any) -> Any:
        nonlocal timer
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        waiting.append((item, future))
        if len(waiting) >= size:
            send()
        elif timer is None:
            timer = loop.call_later(WAIT, send)
        return await future

    return batched


def no_batching(func: Func, size: int) -> Func:
    """Only wait for one turn of the loop: the tasks alone."""

    async def single(rows: Any) -> Any:
        await asyncio.sleep(0)
        return rows

    return single


def dike(argument_type: str) -> Make:
    def make(func: Func, size: int) -> Func:
        from dike_batch import batch

        return batch(target_batch_size=size, max_waiting_time=WAIT, argument_type=argument_type)(func)

    return make


def older_dike(argument_type: str) -> Make:
    def make(func: Func, size: int) -> Func:
        from dike import batch

        return batch(target_batch_size=size, max_waiting_time=WAIT, argument_type=argument_type)(func)

    return make


def aiodataloader(func: Func, size: int) -> Func:
    from aiodataloader import DataLoader

    loader: DataLoader[Any, Any] | None = None

    async def batched(item: Any) -> Any:
        nonlocal loader
        if loader is None:  # it is bound to the loop in which it is made
            loader = DataLoader(func, cache=False, max_batch_size=size)
        return await loader.load(item)

    return batched


def batched(func: Func, size: int) -> Func:
    from batched import aio

    # Its worker sleeps this long whenever less than a batch waits, even if one is complete a moment later.
    return aio.dynamically(batch_size=size, timeout_ms=0.1)(func)


def async_batcher(func: Func, size: int) -> Func:
    from async_batcher.batcher import AsyncBatcher

    class Batcher(AsyncBatcher[Any, Any]):
        async def process_batch(self, batch: list[Any]) -> list[Any]:
            return await func(batch)

    batcher: Batcher | None = None

    async def batched(item: Any) -> Any:
        nonlocal batcher
        if batcher is None:
            batcher = Batcher(max_batch_size=size, max_queue_time=WAIT)
        return await batcher.process(item)

    return batched


def ray_serve(func: Func, size: int) -> Func:
    """Use Ray Serve's decorator alone; `pip install "ray[serve]"` (500 MB) adds it to the contenders."""
    from ray.serve import batch, batching

    # A warning of its, which asks the replica in which it runs as a rule.
    batching._BatchQueue._warn_if_max_batch_size_exceeds_max_ongoing_requests = lambda queue: None
    return batch(max_batch_size=size, batch_wait_timeout_s=WAIT)(func)


def of_arrays(make: Make) -> Make:
    """Make a batcher of arrays from one of items: joining and cutting are the function's own work then."""

    def made(func: Func, size: int) -> Func:
        async def joined(items: list[Any]) -> list[Any]:
            results = await func(np.concatenate(items))
            return [results[i : i + 1] for i in range(len(items))]

        return make(joined, size)

    made.__name__ = make.__name__
    return made


ITEM_PEERS: dict[str, Make] = {
    "aiodataloader": aiodataloader,
    "batched": batched,
    "async-batcher": async_batcher,
    "Ray Serve": ray_serve,
}
LISTS: dict[str, Make] = {
    "hand-written": hand_written(join_lists, cut),
    "dike": dike("list"),
    "dike 1.0.1": older_dike("list"),
}
ARRAYS: dict[str, Make] = {
    "hand-written": hand_written(np.concatenate, cut),
    "hand-written, with copies": hand_written(np.concatenate, cut_copy, np.ndarray.copy),
    "dike": dike("numpy"),
    "dike 1.0.1": older_dike("numpy"),
} | {f"{name} (items)": of_arrays(make) for name, make in ITEM_PEERS.items()}
ITEMS: dict[str, Make] = {"hand-written": hand_written_items, "dike": dike("item"), **ITEM_PEERS}


async def check(name: str, make: Make, calls: list[Any]) -> None:
    """See that the calls make two batches, and that each gets its own row back."""
    batches = []

    async def function(rows: Any) -> Any:
        batches.append(len(rows))
        return rows

    batched = make(function, len(calls) // 2)
    results = await asyncio.gather(*(batched(call) for call in calls))
    if batches != [len(calls) // 2] * 2 or not all(np.array_equal(*pair) for pair in zip(calls, results, strict=True)):
        raise AssertionError(f"{name}: batches of {batches}")


def checked(makers: dict[str, Make], calls: list[Any]) -> dict[str, Make]:
    """Return those contenders that are installed, each seen to do the job."""

    async def function(rows: Any) -> Any:
        return rows

    found = {}
    for name in measure.available(makers, function, 2):
        asyncio.run(check(name, makers[name], calls))
        found[name] = makers[name]
    return found
