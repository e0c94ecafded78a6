"""State that belongs to an event loop.

Each package of dike stands alone, so each that needs this file has it; a test keeps the copies equal.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import TypeVar

State = TypeVar("State")


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
