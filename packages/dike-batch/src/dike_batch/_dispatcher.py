"""When batches leave, and what is in them.

A `Dispatcher` serves one instance on one event loop. It knows entries, each with a number of rows and a future, and
nothing of arguments. An entry waits in the queue of its group until it leaves in a batch:

    add -> Queue -> Batch -> finish or fail
             |        |
             +--------+----> leave, since the caller has gone

A queue is *due* when it has enough rows, when its oldest entry has waited long enough, or when it is flushed. `_look`
sends due queues, the one with the oldest entry first, while fewer batches run than may. What is in a batch is decided
there and no earlier, so a queue keeps filling while the function is busy. Since all entries may wait equally long, the
queue with the oldest entry is also the one whose time comes first, and one timer is enough for all.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Task, TimerHandle
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from math import inf
from typing import Any

from dike_batch._queues import Batch, ByAge, Entry, Piece, Queue
from dike_batch._results import one_each

# One result for each entry, and exceptions that take the place of results, by their index.
Outcome = tuple[list[Any], dict[int, Exception]]


class Rules:
    """The options of `batch` that say when a batch leaves; `inf` is no limit."""

    def __init__(
        self,
        *,
        target: float,
        max_wait: float,
        max_processing: float,
        max_rows: float,
        max_running: float,
        when_idle: bool,
    ) -> None:
        # Whole numbers are compared more quickly.
        self.target = int(target) if target.is_integer() else target
        self.max_wait = max_wait
        self.max_processing = max_processing
        self.max_rows = max_rows
        self.max_running = max_running
        self.when_idle = when_idle


class LoopState:
    """What belongs to one event loop: its figures, and the dispatchers that have something to do."""

    __slots__ = ("batches", "calls", "cancelled", "dispatchers", "rows", "running")

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0  # without those that still wait
        self.batches = 0
        self.running = 0
        self.cancelled = 0
        # By the identity of the instance, which its dispatcher keeps alive.
        self.dispatchers: dict[int, Dispatcher] = {}


class Dispatcher:
    """The queues and the running batches of one instance on one event loop.

    Args:
        loop: The running loop.
        state: What belongs to the loop.
        instance: The instance; `None` for a function.
        rules: When batches leave.
        run: Runs the function with a queue's recipe for the entries of a batch.
        name: What a batch is called in the text of an exception.

    Attributes:
        queues: The queues that have entries, by the keys of their groups.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        state: LoopState,
        instance: Any,
        rules: Rules,
        run: Callable[[Any, list[Entry]], Coroutine[Any, Any, Outcome]],
        name: str,
    ) -> None:
        self.loop = loop
        self.state = state
        self.queues: dict[Hashable, Queue] = {}
        self._instance = instance
        self._rules = rules
        self._target = rules.target
        self._run = run
        self._name = name
        self._due = ByAge(self.queues)
        self._waiting = ByAge(self.queues)
        self._running: set[Batch] = set()
        self._timer: TimerHandle | None = None
        self._idle_is_scheduled = False
        self._flushed = 0

    def add(self, queue: Queue, entry: Entry) -> None:
        """Let `entry` wait in `queue`, and send what may leave now."""
        entry.place = queue
        queue.entries.append(entry)
        before = queue.rows
        queue.rows = rows = before + entry.rows
        if rows >= self._target or not before:
            self._arrive(queue, entry.arrival)

    def add_all(self, queue: Queue, entries: Sequence[Entry]) -> None:
        """Let all `entries` wait in `queue`, and then send what may leave now."""
        for entry in entries:
            entry.place = queue
            queue.entries.append(entry)
            queue.rows += entry.rows
        self._arrive(queue, entries[0].arrival)

    def _arrive(self, queue: Queue, now: float) -> None:
        if queue.key not in self.queues:
            self.queues[queue.key] = queue
            self.state.dispatchers[id(self._instance)] = self
        elif queue in self._due:
            return
        if queue.rows >= self._target and self._has_room():  # then no other is due
            self._send(queue, now)
        else:
            self._sort(queue, now)
        self._look(now)

    def close(self, queue: Queue) -> None:
        """Forget `queue`, which has no entries any more."""
        del self.queues[queue.key]
        self._rest()

    def flush(self) -> list[Future[Any]]:
        """Send all that waits, as soon as may be; return the futures of it."""
        self._flushed = self.state.calls
        now = self.loop.time()
        futures: list[Future[Any]] = []
        for queue in self.queues.values():
            futures += [entry.future for entry in queue.entries]
            self._sort(queue, now)
        self._look(now)
        return futures

    def waiting_rows(self) -> int:
        """Return the number of rows that wait."""
        return sum(queue.rows for queue in self.queues.values())

    def _sort(self, queue: Queue, now: float) -> None:
        """Put `queue`, which has entries, among those that are due or among those that wait."""
        if self._is_due(queue, queue.entries[0], now):
            self._due.push(queue)
        else:
            self._waiting.push(queue)
            self._set_timer()

    def _is_due(self, queue: Queue, oldest: Entry, now: float) -> bool:
        return queue.rows >= self._target or self._deadline(oldest) <= now or oldest.order <= self._flushed

    def _deadline(self, entry: Entry) -> float:
        return entry.arrival + self._rules.max_wait

    def _set_timer(self) -> None:
        """See that there is a timer for the queue whose time comes first."""
        if self._rules.max_wait == inf or not (queue := self._waiting.first()):
            return
        deadline = self._deadline(queue.entries[0])
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(deadline, self._on_time, deadline)

    def _on_time(self, deadline: float) -> None:
        self._timer = None
        # A loop's timers are early by up to the resolution of its clock.
        now = max(deadline, self.loop.time())
        while (queue := self._waiting.first()) and self._deadline(queue.entries[0]) <= now:
            self._waiting.pop()
            self._due.push(queue)
        self._set_timer()
        self._look(now)

    def _look(self, now: float) -> None:
        """Send what may leave."""
        while self._has_room() and (queue := self._due.first()):
            self._due.pop()
            self._send(queue, now)
        if self._rules.when_idle and self.queues and not self._running and not self._idle_is_scheduled:
            # Not at once, so that one `gather` makes one batch.
            self._idle_is_scheduled = True
            self.loop.call_soon(self._on_idle)

    def _has_room(self) -> bool:
        return len(self._running) < self._rules.max_running

    def _on_idle(self) -> None:
        self._idle_is_scheduled = False
        while not self._running and (queue := self._waiting.first()):
            self._waiting.pop()
            self._send(queue, self.loop.time(), is_due=True)

    def _send(self, queue: Queue, now: float, *, is_due: bool = False) -> None:
        entries = queue.take(self._rules.max_rows)
        if entries and (is_due or self._is_due(queue, entries[0], now)):
            rows = sum([entry.rows for entry in entries]) if queue.entries else queue.rows
            queue.rows -= rows
            self.state.rows += rows
            self._start(queue.recipe, entries)
        else:
            # So many callers have just gone that the rest must go on waiting.
            queue.put_back(entries)
        if queue.entries:
            self._sort(queue, now)
        else:
            self.close(queue)

    def _start(self, recipe: Any, entries: list[Entry]) -> None:
        batch = Batch(entries)
        for entry in entries:
            entry.place = batch
        self._running.add(batch)
        self.state.batches += 1
        self.state.running += 1
        # A copy, since the pieces of a cut call have one context, and may run side by side.
        batch.task = self.loop.create_task(self._run(recipe, entries), context=entries[0].context.copy())
        batch.task.add_done_callback(partial(self._on_end, batch))
        if self._rules.max_processing < inf:
            batch.timer = self.loop.call_later(self._rules.max_processing, self._on_timeout, batch)

    def _on_timeout(self, batch: Batch) -> None:
        for entry in batch.entries:
            if not entry.future.done():
                text = f"{self._name} took longer than max_processing_time={self._rules.max_processing:g} seconds"
                entry.fail(TimeoutError(text))
        batch.task.cancel()

    def _on_end(self, batch: Batch, task: Task[Outcome]) -> None:
        self._running.discard(batch)
        self.state.running -= 1
        if batch.timer is not None:
            batch.timer.cancel()
        self._settle(batch.entries, task)
        # Its entries know the batch, and the frames of an exception know the list.
        batch.entries.clear()
        self._look(self.loop.time())
        self._rest()

    def _settle(self, entries: list[Entry], task: Task[Outcome]) -> None:
        """Give the callers that are still there what the function has come to."""
        failure = RuntimeError(f"{self._name} was cancelled") if task.cancelled() else task.exception()
        if failure is not None:
            present = [entry for entry in entries if not entry.future.done()]
            for entry, error in zip(present, one_each(failure, len(present)), strict=True):
                entry.fail(error)
            return
        results, errors = task.result()
        for index, error in errors.items():
            if not entries[index].future.done():
                entries[index].fail(error)
        for entry, result in zip(entries, results, strict=True):
            future = entry.future
            if not future.done():
                if type(entry) is Piece:
                    entry.finish(result)
                else:
                    future.set_result(result)

    def _rest(self) -> None:
        """If nothing waits or runs any more, leave nothing behind."""
        if self.queues or self._running:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The queues in there know this object, which keeps the instance alive.
        self._due.clear()
        self._waiting.clear()
        self.state.dispatchers.pop(id(self._instance), None)
