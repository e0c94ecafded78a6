"""When batches leave, and what is in them.

A `Dispatcher` serves one instance on one event loop. It knows entries, each with a number of rows and a future, and
nothing of arguments. An entry waits in the `Queue` of its group until it leaves in a `Batch`:

    add -> Queue -> Batch -> finish or fail
             |        |
             +--------+----> leave, since the caller has gone

A queue is *due* when it has enough rows, when its oldest entry has waited long enough, or when it is flushed. Due
queues stand in a heap by the age of their oldest entry; a queue that is not due has a timer. `_look` sends due queues
while fewer batches run than may. What is in a batch is decided there and no earlier, so a queue keeps filling while
the backend is busy.
"""

from asyncio import AbstractEventLoop, Future, Task, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from functools import partial
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Any, NamedTuple

from dike_batch._errors import one_each

# One result for each entry, and exceptions in the place of results, by their index.
Outcome = tuple[list[Any], dict[int, Exception]]


class Rules(NamedTuple):
    """The options of `batch` that say when a batch leaves; `inf` is no limit."""

    target: float
    max_wait: float
    max_processing: float
    max_rows: float
    max_running: float
    when_idle: bool


class Totals:
    """The figures of one event loop, over all its dispatchers."""

    __slots__ = ("batches", "calls", "cancelled", "rows", "running")

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0  # without those that still wait
        self.batches = 0
        self.running = 0
        self.cancelled = 0


class Entry:
    """A call, from its arrival to its end.

    Attributes:
        future: The caller's.
        rows: The number of rows.
        values: The batched arguments.
        arrival: When the call came, on the loop's clock.
        order: The number of the call, on its loop.
        context: The caller's context.
        place: Where the entry is, as long as it matters.
    """

    __slots__ = ("arrival", "context", "future", "order", "place", "rows", "values")

    future: Future[Any]
    rows: int
    values: Any
    arrival: float
    order: int
    context: Context
    place: "Queue | Batch | None"

    def leave(self) -> None:
        """Go away, wherever the entry is: nobody waits for it any more."""
        place, self.place = self.place, None
        if place is not None:
            place.leave(self)

    def finish(self, result: Any) -> None:
        """Give the caller its result."""
        self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Give the caller its exception."""
        self.future.set_exception(error)


class Queue:
    """The entries of one group that wait, oldest first."""

    __slots__ = ("dispatcher", "due", "entries", "gone", "key", "recipe", "rows", "timer")

    def __init__(self, dispatcher: "Dispatcher", key: Hashable, recipe: Any) -> None:
        self.dispatcher = dispatcher
        self.key = key
        self.recipe = recipe
        self.entries: deque[Entry] = deque()
        self.rows = 0
        self.gone = 0
        self.due = False
        self.timer: TimerHandle | None = None

    def leave(self, entry: Entry) -> None:
        """Remove `entry` and its rows; its shell stays until it is the first, or one of too many."""
        self._discount(entry)
        self.gone += 1
        if self.gone * 2 > len(self.entries):
            self.entries = deque(entry for entry in self.entries if entry.place is self)
            self.gone = 0
        while self.entries and self.entries[0].place is None:
            self.entries.popleft()
            self.gone -= 1
        if not self.entries:
            self.dispatcher.close(self)

    def take(self, max_rows: float) -> list[Entry]:
        """Take out the oldest entries, up to `max_rows`; their rows still count."""
        entries = self.entries
        taken: list[Entry] = []
        while entries:
            entry = entries[0]
            if entry.place is None:
                self.gone -= 1
            elif entry.future.done():  # cancelled so lately that it has had no time to leave
                entry.place = None
                self._discount(entry)
            elif entry.rows <= max_rows:
                max_rows -= entry.rows
                taken.append(entry)
            else:
                break
            entries.popleft()
        return taken

    def _discount(self, entry: Entry) -> None:
        self.rows -= entry.rows
        self.dispatcher.totals.rows += entry.rows
        entry.values = ()


class Batch:
    """Entries whose function runs."""

    __slots__ = ("entries", "present", "task", "timer")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.present = len(entries)
        self.task: Task[Any] | None = None
        self.timer: TimerHandle | None = None

    def leave(self, entry: Entry) -> None:
        """Count `entry` out; after the last one the function would run for nobody."""
        self.present -= 1
        if not self.present and self.task is not None:
            self.task.cancel()


class ByAge:
    """A heap of queues, the one with the oldest entry first.

    A queue's oldest entry only ever gives way to a younger one, so it is enough to put a queue right when it comes up.
    """

    __slots__ = ("_heap", "_open")

    def __init__(self, open_queues: dict[Hashable, Queue]) -> None:
        self._heap: list[tuple[int, Queue]] = []
        self._open = open_queues

    def push(self, queue: Queue) -> None:
        """Add `queue`, which is open and not in the heap."""
        if len(self._heap) > 2 * len(self._open):
            self._heap = [item for item in self._heap if item[1].entries]
            heapify(self._heap)
        heappush(self._heap, (queue.entries[0].order, queue))

    def pop(self) -> Queue | None:
        """Take out the queue with the oldest entry."""
        while self._heap:
            order, queue = self._heap[0]
            if not queue.entries:
                heappop(self._heap)
            elif queue.entries[0].order != order:
                heapreplace(self._heap, (queue.entries[0].order, queue))
            else:
                heappop(self._heap)
                return queue
        return None


class Dispatcher:
    """The queues and the running batches of one instance on one event loop.

    Args:
        loop: The running loop.
        rules: When batches leave.
        totals: The figures of the loop.
        run: Runs the function with a queue's recipe for the entries of a batch.
        name: What a batch is called in the text of an exception.
        on_empty: Called when nothing waits or runs any more.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        rules: Rules,
        totals: Totals,
        *,
        run: Callable[[Any, list[Entry]], Coroutine[Any, Any, Outcome]],
        name: str,
        on_empty: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._rules = rules
        self._target = rules.target
        self._run = run
        self._name = name
        self._on_empty = on_empty
        self.totals = totals
        self.queues: dict[Hashable, Queue] = {}
        self._due = ByAge(self.queues)
        self._waiting = ByAge(self.queues)
        self._running: set[Batch] = set()
        self._idle_scheduled = False
        self._flushed = 0

    def open_queue(self, key: Hashable, recipe: Any) -> Queue:
        """Make the queue of a group of which nothing waits; an entry must follow at once."""
        queue = self.queues[key] = Queue(self, key, recipe)
        return queue

    def add(self, queue: Queue, entry: Entry, others: Sequence[Entry] = ()) -> None:
        """Let `entry`, and the other pieces of a call, wait in `queue`, and send what may leave now."""
        is_first = not queue.rows
        entry.place = queue
        queue.entries.append(entry)
        queue.rows += entry.rows
        for other in others:
            other.place = queue
            queue.entries.append(other)
            queue.rows += other.rows
        if is_first:
            if self._rules.when_idle:
                self._waiting.push(queue)
        elif queue.rows < self._target or queue.due:
            return
        self._sort(queue, entry.arrival)
        self._look(entry.arrival)

    def waiting_rows(self) -> int:
        """Return the number of rows that wait."""
        return sum(queue.rows for queue in self.queues.values())

    def flush(self) -> list[Future[Any]]:
        """Send all that waits as soon as there is room; return the futures of it."""
        self._flushed = self.totals.calls
        now = self._loop.time()
        futures = [entry.future for queue in self.queues.values() for entry in queue.entries]
        for queue in self.queues.values():
            self._sort(queue, now)
        self._look(now)
        return futures

    def close(self, queue: Queue) -> None:
        """Drop `queue`, which is empty."""
        if queue.timer is not None:
            queue.timer.cancel()
        del self.queues[queue.key]
        self._rest()

    def _sort(self, queue: Queue, now: float) -> None:
        """Put `queue` among the due ones, or see that it has a timer."""
        if queue.due:
            return
        if self._is_due(queue, queue.entries[0], now):
            queue.due = True
            self._due.push(queue)
        elif queue.timer is None and self._rules.max_wait < inf:
            queue.timer = self._loop.call_at(queue.entries[0].arrival + self._rules.max_wait, self._on_time, queue)

    def _is_due(self, queue: Queue, oldest: Entry, now: float) -> bool:
        return (
            queue.rows >= self._rules.target
            or oldest.order <= self._flushed
            or oldest.arrival + self._rules.max_wait <= now
        )

    def _on_time(self, queue: Queue) -> None:
        assert queue.timer is not None
        # A loop calls up to its clock's resolution too early, and rounds.
        now = max(queue.timer.when(), self._loop.time())
        queue.timer = None
        self._sort(queue, now)
        self._look(now)

    def _look(self, now: float) -> None:
        """Send what may leave."""
        while len(self._running) < self._rules.max_running and (queue := self._due.pop()):
            queue.due = False
            self._send(queue, now)
        if self._rules.when_idle and self.queues and not self._running and not self._idle_scheduled:
            self._idle_scheduled = True
            self._loop.call_soon(self._on_idle)

    def _on_idle(self) -> None:
        self._idle_scheduled = False
        while not self._running and (queue := self._waiting.pop()):
            self._send(queue, self._loop.time(), even_if_not_due=True)
            if queue.entries:
                self._waiting.push(queue)

    def _send(self, queue: Queue, now: float, *, even_if_not_due: bool = False) -> None:
        entries = queue.take(self._rules.max_rows)
        if entries and (even_if_not_due or self._is_due(queue, entries[0], now)):
            rows = sum(entry.rows for entry in entries)
            queue.rows -= rows
            self.totals.rows += rows
            self._start(queue.recipe, entries)
        else:
            # So many callers have just gone that the rest must go on waiting.
            queue.entries.extendleft(reversed(entries))
        if queue.entries:
            self._sort(queue, now)
        else:
            self.close(queue)

    def _start(self, recipe: Any, entries: list[Entry]) -> None:
        batch = Batch(entries)
        for entry in entries:
            entry.place = batch
        self._running.add(batch)
        self.totals.batches += 1
        self.totals.running += 1
        batch.task = self._loop.create_task(self._run(recipe, entries), context=entries[0].context.copy())
        batch.task.add_done_callback(partial(self._on_end, batch))
        if self._rules.max_processing < inf:
            batch.timer = self._loop.call_later(self._rules.max_processing, self._on_timeout, batch)

    def _on_timeout(self, batch: Batch) -> None:
        for entry in batch.entries:
            if not entry.future.done():
                text = f"{self._name} took longer than max_processing_time={self._rules.max_processing:g} seconds"
                entry.fail(TimeoutError(text))
        assert batch.task is not None
        batch.task.cancel()

    def _on_end(self, batch: Batch, task: Task[Outcome]) -> None:
        self._running.discard(batch)
        self.totals.running -= 1
        if batch.timer is not None:
            batch.timer.cancel()
        self._settle(batch.entries, task)
        # It is still known to its entries, and to the frames of an exception.
        batch.entries.clear()
        self._look(self._loop.time())
        self._rest()

    def _settle(self, entries: list[Entry], task: Task[Outcome]) -> None:
        """Give the callers that are still there what the function came to."""
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
                if type(entry) is Entry:  # what finish does, less a call for each entry
                    future.set_result(result)
                else:
                    entry.finish(result)

    def _rest(self) -> None:
        if not self.queues and not self._running:
            self._on_empty()
