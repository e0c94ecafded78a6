"""Calls, whole or cut, that wait in queues and run in batches."""

from __future__ import annotations

from asyncio import Future, Task, TimerHandle
from collections import deque
from collections.abc import Callable, Hashable
from contextvars import Context
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dike_batch._dispatcher import Dispatcher


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
