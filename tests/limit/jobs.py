"""Functions to be limited, whose end the test decides."""

import asyncio
from collections.abc import Iterable
from typing import Any

from dike_limit import JobLimiter, TooManyCalls


class Jobs:
    """Calls of one limited function: each runs until it is told to end.

    Attributes:
        started: The names of the calls that have begun to run, in that order.
        tasks: The task of each call.
    """

    def __init__(self, limiter: JobLimiter) -> None:
        self.started: list[Any] = []
        self.tasks: dict[Any, asyncio.Task[Any]] = {}
        self._gates: dict[Any, asyncio.Future[Any]] = {}

        @limiter
        async def job(name: Any, *args: Any) -> Any:
            self.started.append(name)
            gate = self._gates[name] = asyncio.get_running_loop().create_future()
            return await gate

        self.job = job

    async def start(self, *names: Any, args: Iterable[Any] = ()) -> None:
        """Start a call of each name, and let each run as far as it gets."""
        for name in names:
            self.tasks[name] = task = asyncio.create_task(self.job(name, *args))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            await settle()

    async def end(self, *names: Any) -> None:
        """Let calls that run return their names."""
        for name in names:
            self._gates[name].set_result(name)
            await settle()

    async def cancel(self, *names: Any) -> None:
        """Cancel calls."""
        for name in names:
            self.tasks[name].cancel()
            await settle()

    def is_refused(self, name: Any) -> bool:
        """Whether a call has got `TooManyCalls`."""
        task = self.tasks[name]
        return task.done() and not task.cancelled() and isinstance(task.exception(), TooManyCalls)

    async def end_all(self) -> None:
        """Let everything end that has not."""
        while pending := [task for task in self.tasks.values() if not task.done()]:
            for gate in self._gates.values():
                if not gate.done():
                    gate.set_result(None)
            await asyncio.wait(pending, timeout=0.001)


async def settle() -> None:
    """Let all tasks run as far as they get."""
    for _ in range(6):
        await asyncio.sleep(0)


async def count_free(limiter: JobLimiter) -> int:
    """Count the slots that are free."""
    taken = []
    try:
        while len(taken) < 1000:
            slot = limiter.slot()
            async with asyncio.timeout(1e-6):
                await slot.__aenter__()
            taken.append(slot)
    except (TooManyCalls, TimeoutError):
        pass
    finally:
        for slot in taken:
            await slot.__aexit__(None, None, None)
    return len(taken)
