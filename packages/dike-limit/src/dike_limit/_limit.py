"""The limit itself: a number, or something that knows better."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from . import _options
from ._call import Call
from ._slots import LimitOfTheMoment


class Limit(ABC):
    """What `limit_jobs` takes as `limit`. Numbers are made into one; `AdaptiveLimit` and `SharedLimit` are subclasses.

    Attributes:
        call: The class of the calls under such a limit, see `_call`.
    """

    # Empty, so that a subclass may have slots or not.
    __slots__ = ()

    call: ClassVar[type[Call]] = Call

    def bind(self, *, has_key: bool) -> None:  # noqa: B027 (most limits do not mind)
        """Raise `ValueError` if the limit cannot serve a limiter (with a `key`)."""

    @abstractmethod
    def on_loop(self) -> LimitOfTheMoment:
        """Return what tells the running event loop's slots the limit of the moment, as `value`.

        Called once for each event loop, when the first call comes. Whoever changes that value calls `look` of the
        `Slots` afterwards, so that those who wait profit from it.
        """

    @abstractmethod
    def current(self) -> float:
        """Return the limit to show: that of the running event loop, if they differ."""


class NumberLimit(Limit):
    """A number, the same on all event loops.

    Attributes:
        given: The number as it was given.
        value: The number as a float.
        exceeded: The end of the text of a refusal.
    """

    __slots__ = ("exceeded", "given", "value")

    def __init__(self, limit: Any) -> None:
        self.set(limit)

    def set(self, limit: Any) -> None:
        """Change the limit."""
        value = _options.number("limit", limit)
        _options.require(value >= 0, "limit", ">= 0", limit)
        self.given: float = limit
        self.exceeded = f"! limit={limit} exceeded"
        self.value = value

    def on_loop(self) -> LimitOfTheMoment:
        """Return itself."""
        return self

    def current(self) -> float:
        """Return the number as it was given."""
        return self.given
