"""Calls with more rows than a batch may have."""

from asyncio import Future
from collections.abc import Callable
from contextvars import Context
from typing import Any

from dike_batch._dispatcher import Entry


class CutCall:
    """A call cut into pieces, each of which waits and runs as an entry of its own.

    Args:
        future: The caller's.
        join: Puts the results of the pieces together.
    """

    __slots__ = ("_join", "_left", "future", "pieces")

    def __init__(self, future: Future[Any], join: Callable[[list[Any]], Any]) -> None:
        self.future = future
        self.pieces: list[Piece] = []
        self._join = join
        self._left = 0

    def add(self, rows: int, values: tuple[Any, ...], arrival: float, order: int, context: Context) -> "Piece":
        """Return a new last piece."""
        piece = Piece(self.future, rows, values, arrival, order, context)
        piece.call = self
        self.pieces.append(piece)
        self._left += 1
        return piece

    def finish(self) -> None:
        """Count a result; the last one makes the caller's."""
        self._left -= 1
        if self._left:
            return
        try:
            result = self._join([piece.result for piece in self.pieces])
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def leave(self) -> None:
        """Nobody waits for any of the pieces any more."""
        for piece in self.pieces:
            piece.leave()
        self.pieces.clear()


class Piece(Entry):
    """A piece of a call; its future is the call's."""

    __slots__ = ("call", "result")

    call: CutCall
    result: Any

    def finish(self, result: Any) -> None:
        """Keep the result until there are all."""
        self.result = result
        self.call.finish()

    def fail(self, error: BaseException) -> None:
        """Fail the whole call, whose other pieces are then of no use."""
        super().fail(error)
        self.call.leave()
