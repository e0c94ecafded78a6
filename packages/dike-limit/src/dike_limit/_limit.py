"""The limit itself: a number, or something that knows better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._rules import Call
    from ._slots import LimitOfTheMoment


class Limit(ABC):
    """What `limit_jobs` takes as `limit`. Numbers are made into one; `AdaptiveLimit` and `SharedLimit` are subclasses.

    Attributes:
        call: The class of the calls under such a limit, see `Call`.
    """

    # Empty, so that a subclass may have slots or not.
    __slots__ = ()

    call: type[Call]

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

    def set(self, limit: float) -> None:
        """Change the limit, if it is one that can be set.

        Raises:
            AttributeError: It is not.
        """
        raise AttributeError(f"limit cannot be set, since it was given as {self!r}")
