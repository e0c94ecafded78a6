"""The time of one call: how much has passed, how much is left, and what happens when none is."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType


class Timing:
    """The time of one call, which begins when this object is made.

    A ``with`` block stands for one attempt: if it is not left in time, the task is cancelled, and that cancellation is
    taken back on leaving the block. The block lets every exception through; `cut` then tells whether a `CancelledError`
    was only ours. A cancellation from outside always wins, whichever came first: the counts of
    `asyncio.Task.cancelling` show both, so nested deadlines work, those of `asyncio.timeout` too. `asyncio.timeout`
    itself would not do here: it hides whether its own `TimeoutError` or the function's came out.

    Args:
        timeout: Seconds for the whole call, `math.inf` for no limit.
    """

    __slots__ = ("_cancelling", "_deadline", "_expired", "_handle", "_loop", "_started", "_task", "cut", "last_failure")

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._deadline = self._started + timeout
        self._task = None
        if timeout < math.inf:
            self._task = asyncio.current_task(self._loop)
            if self._task is None:
                raise RuntimeError("retry with a timeout must be used inside a task")
        self._expired = False
        self.cut = False
        self.last_failure: BaseException | None = None

    def elapsed(self) -> float:
        """Return the seconds since the call began."""
        return self._loop.time() - self._started

    def is_over_in(self, delay: float) -> bool:
        """Whether the deadline has been met, or will be within `delay` seconds."""
        # A timer may go off a little early on the clock of its loop, so the clock alone does not tell.
        return self._expired or (self._deadline < math.inf and self._loop.time() + delay >= self._deadline)

    def remember(self, exc: BaseException) -> None:
        """Keep `exc` as the last failure, but only if there is a deadline, as its traceback keeps frames alive."""
        if self._deadline < math.inf:
            self.last_failure = exc

    def close(self) -> None:
        """Let go of what refers to exceptions: their tracebacks refer to the frame that holds this object."""
        self._task = self.last_failure = None

    def __enter__(self) -> None:
        if self._task is not None:
            self._cancelling = self._task.cancelling()
            self._handle = self._loop.call_at(self._deadline, self._expire, self._task)

    def _expire(self, task: asyncio.Task[object]) -> None:
        self._expired = True
        task.cancel()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._handle.cancel()
            if self._expired:
                only_ours = self._task.uncancel() <= self._cancelling
                self.cut = only_ours and isinstance(exc, asyncio.CancelledError)
