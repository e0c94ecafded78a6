"""Calls with more rows than a batch may have."""

from asyncio import Future
from collections.abc import Callable
from typing import Any

from dike_batch._dispatcher import Entry


class CutCall:
    """A call cut into pieces, each of which waits and runs as an entry of its own.

    Args:
        future: The caller's.
        join: Puts the results of the pieces together.
    """

    __slots__ = ("_join", "_missing", "future", "pieces")

    def __init__(self, future: Future[Any], join: Callable[[list[Any]], Any]) -> None:
        self.future = future
        self.pieces: list[Piece] = []
        self._join = join
        self._missing = 0

    def piece(self) -> "Piece":
        """Return a new piece, the last so far."""
        piece = Piece()
        piece.call = self
        piece.future = self.future
        self.pieces.append(piece)
        self._missing += 1
        return piece

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
