"""Cancelling the attempt in flight when the time of a call is up."""

import asyncio
from types import TracebackType


class Deadline:
    """Cancels the task if the ``with`` block is not left in time, and takes that cancellation back on leaving it.

    The block lets every exception through, its own cancellation too: `cut` then tells the two kinds of cancellation
    apart. One from outside always wins, whichever came first (the counts of `asyncio.Task.cancelling` show both), so
    nested deadlines and `asyncio.timeout` work. `asyncio.timeout` itself cannot be used: it hides whether its
    `TimeoutError` or the function's own came out.

    Args:
        when: The time on the running loop's clock; `None` for no deadline.
    """

    __slots__ = ("_cancelling", "_expired", "_handle", "_task", "cut", "when")

    def __init__(self, when: float | None) -> None:
        self.when = when
        self.cut = False

    def __enter__(self) -> None:
        if self.when is None:
            return
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("retry with a timeout must be used inside a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False
        self._handle = asyncio.get_running_loop().call_at(self.when, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.when is None:
            return
        self._handle.cancel()
        if self._expired:
            only_ours = self._task.uncancel() <= self._cancelling
            self.cut = only_ours and isinstance(exc, asyncio.CancelledError)
