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

An `Entry` is a call; a `CutCall` is one with more rows than a batch may have, each `Piece` of which is an entry.
`ByAge` keeps the queues that are due, and those that are not, in the order of their oldest entries. `LoopState` is
what the dispatchers of one event loop have in common.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Task, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from functools import partial
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Any, TypeVar

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


State = TypeVar("State")


# dike_limit._loop_slots has the same class, since each package stands alone; a test keeps them equal.
class PerLoop(dict[AbstractEventLoop, State]):
    """The state of each event loop, made when a loop first asks for it.

    A dict, since a look-up is on the path of every call. A closed loop's state goes when the next loop comes.
    """

    __slots__ = ("_factory",)

    def __init__(self, factory: Callable[[], State]) -> None:
        self._factory = factory

    def __missing__(self, loop: AbstractEventLoop) -> State:
        self.drop_closed()
        return self.setdefault(loop, self._factory())

    def drop_closed(self) -> None:
        """Forget the loops that are closed."""
        # A copy, since the loops of other threads may come meanwhile.
        for other in list(self):
            if other.is_closed():
                self.pop(other, None)


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


class Entry:
    """A call, from its arrival to its end.

    Attributes:
        future: The caller's.
        rows: The number of rows.
        values: The batched arguments.
        arrival: When the call came, on the loop's clock.
        order: The number of the call, on its loop.
        context: The caller's context.
        place: The queue where the entry waits, or the batch where it runs; `None` once it has left.
    """

    __slots__ = ("arrival", "context", "future", "order", "place", "rows", "values")

    future: Future[Any]
    rows: int
    values: Any
    arrival: float
    order: int
    context: Context
    place: Queue | Batch | None

    def leave(self) -> None:
        """Go away, wherever the entry is: nobody waits for it any more."""
        place, self.place = self.place, None
        if place is not None:
            place.leave(self)

    def fail(self, error: BaseException) -> None:
        """Give the caller its exception."""
        self.future.set_exception(error)


class CutCall:
    """A call cut into consecutive pieces, each of which waits and runs as an entry of its own.

    Args:
        whole: The entry of the call, which takes no part.
        size: The number of rows of each piece; the last one has the rest.
        cut: Returns some rows of an entry's values.
        join: Puts the results of the pieces together.
    """

    __slots__ = ("_join", "_missing", "future", "pieces")

    def __init__(
        self, whole: Entry, size: int, cut: Callable[[Any, int, int], Any], join: Callable[[list[Any]], Any]
    ) -> None:
        self.future = whole.future
        self.pieces: list[Piece] = []
        self._join = join
        for start in range(0, whole.rows, size):
            piece = Piece()
            piece.call = self
            piece.future = whole.future
            piece.rows = min(size, whole.rows - start)
            piece.values = cut(whole.values, start, start + piece.rows)
            piece.arrival = whole.arrival
            piece.order = whole.order
            piece.context = whole.context
            self.pieces.append(piece)
        self._missing = len(self.pieces)

    def finish_piece(self) -> None:
        """Count the result of a piece; after the last one the caller gets its result."""
        self._missing -= 1
        if self._missing:
            return
        try:
            result = self._join([piece.result for piece in self.pieces])
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)
        self.pieces.clear()

    def leave(self) -> None:
        """Take away all pieces: nobody waits for them any more."""
        for piece in self.pieces:
            piece.leave()
        self.pieces.clear()


class Piece(Entry):
    """A piece of a call; its future is the call's."""

    __slots__ = ("call", "result")

    call: CutCall
    result: Any

    def finish(self, result: Any) -> None:
        """Keep the result until all are there."""
        self.result = result
        self.call.finish_piece()

    def fail(self, error: BaseException) -> None:
        """Fail the call; its other pieces are then of no use."""
        super().fail(error)
        self.call.leave()


class Queue:
    """The entries of one group that wait, oldest first.

    Args:
        dispatcher: Where the queue belongs.
        key: The key of the group.
        recipe: What the entries have in common.
    """

    __slots__ = ("_gone", "dispatcher", "entries", "key", "loop", "recipe", "rows")

    def __init__(self, dispatcher: Dispatcher, key: Hashable, recipe: Any) -> None:
        self.dispatcher = dispatcher
        self.loop = dispatcher.loop
        self.key = key
        self.recipe = recipe
        self.entries: deque[Entry] = deque()
        self.rows = 0
        self._gone = 0

    def leave(self, entry: Entry) -> None:
        """Remove `entry` and its rows; its shell stays until it is the first, or one of too many."""
        self._discount(entry)
        self._gone += 1
        if self._gone * 2 > len(self.entries):
            self.entries = deque(entry for entry in self.entries if entry.place is self)
            self._gone = 0
        while self.entries and self.entries[0].place is None:
            self.entries.popleft()
            self._gone -= 1
        if not self.entries:
            self.dispatcher.close(self)

    def take(self, max_rows: float) -> list[Entry]:
        """Take out the oldest entries, up to `max_rows`; their rows still count."""
        entries = self.entries
        if self.rows <= max_rows:
            present = [entry for entry in entries if not entry.future.done()]
            if len(present) == len(entries):
                entries.clear()
                return present
        taken: list[Entry] = []
        while entries:
            entry = entries[0]
            if entry.place is None:
                self._gone -= 1
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

    def put_back(self, entries: list[Entry]) -> None:
        """Undo `take`."""
        self.entries.extendleft(reversed(entries))

    def _discount(self, entry: Entry) -> None:
        self.rows -= entry.rows
        self.dispatcher.state.rows += entry.rows
        entry.values = None


class Batch:
    """Entries whose function runs."""

    __slots__ = ("entries", "present", "task", "timer")

    task: Task[Any]

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.present = len(entries)
        self.timer: TimerHandle | None = None

    def leave(self, entry: Entry) -> None:
        """Count `entry` out; after the last one the function would run for nobody."""
        self.present -= 1
        if not self.present:
            self.task.cancel()


class ByAge:
    """Queues, the one with the oldest entry first.

    It is a heap that is put right only at its top, where queues come up that are empty meanwhile, or whose oldest entry
    has given way to a younger one.

    Args:
        queues: All queues that have entries.
    """

    __slots__ = ("_heap", "_members", "_queues")

    def __init__(self, queues: dict[Hashable, Queue]) -> None:
        self._heap: list[tuple[int, Queue]] = []
        self._members: set[Queue] = set()
        self._queues = queues

    def __contains__(self, queue: Queue) -> bool:
        return queue in self._members

    def push(self, queue: Queue) -> None:
        """Add `queue`, which has entries, unless it is there."""
        if queue in self._members:
            return
        if len(self._heap) > 2 * len(self._queues):
            self._heap = [item for item in self._heap if item[1].entries]
            self._members = {queue for _, queue in self._heap}
            heapify(self._heap)
        heappush(self._heap, (queue.entries[0].order, queue))
        self._members.add(queue)

    def first(self) -> Queue | None:
        """Return the queue with the oldest entry."""
        while self._heap:
            order, queue = self._heap[0]
            if not queue.entries:
                self.pop()
            elif queue.entries[0].order != order:
                heapreplace(self._heap, (queue.entries[0].order, queue))
            else:
                return queue
        return None

    def pop(self) -> None:
        """Remove the first queue."""
        _, queue = heappop(self._heap)
        self._members.remove(queue)

    def clear(self) -> None:
        """Remove all queues."""
        self._heap.clear()
        self._members.clear()
