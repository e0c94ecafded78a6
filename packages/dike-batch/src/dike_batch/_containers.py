"""Containers of rows: how arguments are copied and joined, and how results are cut."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Hashable
from importlib import import_module
from itertools import accumulate, chain, pairwise
from typing import Any

from dike_batch._argument_type import ArgumentType


class Container(ArgumentType):
    """An `ArgumentType`, and what follows from it, for which the built-in ones have quicker ways."""

    # Whether arguments are of kinds that cannot be merged.
    has_kinds = False

    def take(self, value: Any) -> tuple[int, Any, Hashable]:
        """Return the number of rows of an argument, a copy of it for `merge` and `cut`, and its kind."""
        taken = self.join([value])
        return self.rows(taken), taken, None

    def merge(self, taken: list[Any]) -> Any:
        """Join arguments that were taken."""
        return self.join(taken)

    def cut(self, taken: Any, start: int, stop: int) -> Any:
        """Return some rows of an argument that was taken."""
        return self.slice(taken, start, stop)

    @abstractmethod
    def of_result(self, result: Any) -> Container | None:
        """Return the container that a result is, if it is one; the other methods are for results."""

    def parts(self, value: Any, sizes: list[int]) -> list[Any]:
        """Return consecutive parts with so many rows, each a container of its own."""
        bounds = pairwise(accumulate(sizes, initial=0))
        return [self.join([self.slice(value, start, stop)]) for start, stop in bounds]

    def items(self, value: Any) -> list[Any]:
        """Return the rows."""
        return [part[0] for part in self.parts(value, [1] * self.rows(value))]


class Custom(Container):
    """An `ArgumentType` of the user, by which all results are cut."""

    def __init__(self, argument_type: ArgumentType) -> None:
        self._type = argument_type

    def rows(self, value: Any) -> int:
        return self._type.rows(value)

    def join(self, values: list[Any]) -> Any:
        return self._type.join(values)

    def slice(self, value: Any, start: int, stop: int) -> Any:
        return self._type.slice(value, start, stop)

    def of_result(self, result: Any) -> Container:
        return self


class Sequences(Container):
    """Whatever has a length and can be sliced: what the built-in containers have in common."""

    def rows(self, value: Any) -> int:
        return len(value)

    def join(self, values: list[Any]) -> Any:
        return list(chain.from_iterable(values))

    def slice(self, value: Any, start: int, stop: int) -> Any:
        return value[start:stop]

    def of_result(self, result: Any) -> Container | None:
        if isinstance(result, list):
            return LISTS
        # Whoever returns an array has imported numpy.
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(result, numpy.ndarray):
            return arrays()
        return SEQUENCES if hasattr(result, "__len__") and hasattr(result, "__getitem__") else None

    def parts(self, value: Any, sizes: list[int]) -> list[Any]:
        from copy import copy  # Late, as it takes long and is seldom needed.

        bounds = pairwise(accumulate(sizes, initial=0))
        return [copy(value[start:stop]) for start, stop in bounds]


class Rows(tuple[Any, ...]):
    """The rows of a list, but for a list of one row, of which the row itself is kept: that is one object less."""

    __slots__ = ()


class Lists(Sequences):
    """Lists; as arguments also what can be made a list."""

    def take(self, value: Any) -> tuple[int, Any, Hashable]:
        if value.__class__ is list and len(value) == 1:
            return 1, value[0], None
        rows = Rows(value)
        return len(rows), rows, None

    def merge(self, taken: list[Any]) -> list[Any]:
        merged: list[Any] = []
        for rows in taken:
            if type(rows) is Rows:
                merged += rows
            else:
                merged.append(rows)
        return merged

    def cut(self, taken: Any, start: int, stop: int) -> Any:
        return Rows(taken[start:stop])

    def parts(self, value: Any, sizes: list[int]) -> list[Any]:
        if len(sizes) == len(value):
            return [[row] for row in value]
        return [value[start:stop] for start, stop in pairwise(accumulate(sizes, initial=0))]

    def items(self, value: Any) -> list[Any]:
        return list(value)


class Items(Sequences):
    """Single elements, which are joined to lists."""

    def take(self, value: Any) -> tuple[int, Any, Hashable]:
        return 1, value, None

    def merge(self, taken: list[Any]) -> list[Any]:
        return taken


SEQUENCES = Sequences()
LISTS = Lists()
ITEMS = Items()


def arrays() -> Container:
    """Return the container for numpy arrays; numpy must be installed."""
    from dike_batch._numpy import ARRAYS

    return ARRAYS


def container(argument_type: Any) -> Container:
    """Return the container that the option of `batch` stands for.

    Raises:
        ValueError: There is none, or it needs numpy, which is not installed.
    """
    if isinstance(argument_type, ArgumentType):
        return Custom(argument_type)
    if argument_type == "list":
        return LISTS
    if argument_type == "item":
        return ITEMS
    if argument_type == "numpy":
        try:
            import_module("numpy")
        except ImportError:
            raise ValueError('Unable to use "numpy" as argument_type because numpy is not available') from None
        return arrays()
    raise ValueError(
        'argument_type must be "list", "numpy", "item" or an instance of a subclass of ArgumentType, '
        f"but got {argument_type!r}"
    )
