"""Calls with more rows than a batch may have."""

from collections.abc import Callable
from typing import Any

from dike_batch._queues import Entry


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
