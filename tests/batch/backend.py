"""A batched function whose batches the test sees and ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from dike_batch import batch

T = TypeVar("T")


async def settle() -> None:
    """Let everything run as far as it gets without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


def start(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run `coroutine` in a task whose exception may stay unseen."""
    task = asyncio.get_running_loop().create_task(coroutine)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task


class Backend:
    """A function that returns its rows, and is batched: `call` it.

    Args:
        seconds: How long it runs; `None` until the test calls `end` or `fail`.
        options: Options of `batch`, which by themselves let nothing leave.

    Attributes:
        batches: The rows of each batch.
        sent_at: When it began to run.
        most: How many ran at once.
    """

    def __init__(self, seconds: float | None = 0.0, **options: Any) -> None:
        self.batches: list[list[Any]] = []
        self.sent_at: list[float] = []
        self.running = self.most = 0
        self._gates: list[asyncio.Future[None]] = []

        async def function(rows: list[Any]) -> list[Any]:
            loop = asyncio.get_running_loop()
            self.batches.append(list(rows))
            self.sent_at.append(loop.time())
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                if seconds is None:
                    self._gates.append(loop.create_future())
                    await self._gates[-1]
                elif seconds:
                    await asyncio.sleep(seconds)
            finally:
                self.running -= 1
            return rows

        defaults: dict[str, Any] = {"target_batch_size": float("inf"), "max_waiting_time": float("inf")}
        self.call: Any = batch(**{"max_processing_time": None, **defaults, **options})(function)

    async def start(self, *calls: list[Any]) -> list[asyncio.Task[Any]]:
        """Start calls, and let each run as far as it gets."""
        tasks = [start(self.call(rows)) for rows in calls]
        await settle()
        return tasks

    async def end(self, index: int) -> None:
        """Let a batch return."""
        self._gates[index].set_result(None)
        await settle()

    async def fail(self, index: int, error: BaseException) -> None:
        """Let a batch raise."""
        self._gates[index].set_exception(error)
        await settle()
