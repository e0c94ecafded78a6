"""Containers of rows: how arguments are copied and joined, and how results are cut."""

import copy
import sys
from abc import abstractmethod
from collections.abc import Callable, Hashable
from importlib import import_module
from itertools import accumulate, chain, pairwise
from typing import Any

from dike_batch._arguments import ArgumentType


class Container(ArgumentType):
    """An `ArgumentType`, and what follows from it, for which the built-in ones have quicker ways."""

    # Returns what must be equal for values to be joined, if there is such a thing.
    kind: Callable[[Any], Hashable] | None = None

    def copy(self, value: Any) -> Any:
        """Return the rows of `value` for `join` and `slice`; what happens to `value` later does not matter."""
        return self.join([value])

    def parts(self, value: Any, sizes: list[int]) -> list[Any]:
        """Return consecutive parts of `value` with so many rows, each a container of its own."""
        bounds = pairwise(accumulate(sizes, initial=0))
        return [self.copy(self.slice(value, start, stop)) for start, stop in bounds]

    def items(self, value: Any) -> list[Any]:
        """Return the rows of `value`."""
        return [part[0] for part in self.parts(value, [1] * self.rows(value))]

    @abstractmethod
    def of_result(self, result: Any) -> "Container | None":
        """Return the container that `result` is, if it is one."""


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

    rows = staticmethod(len)  # type: ignore[assignment]

    def join(self, values: list[Any]) -> Any:
        return list(chain.from_iterable(values))

    def slice(self, value: Any, start: int, stop: int) -> Any:
        return value[start:stop]

    def copy(self, value: Any) -> Any:
        return copy.copy(value)

    def of_result(self, result: Any) -> Container | None:
        if isinstance(result, list):
            return LISTS
        # Whoever returns an array has imported numpy.
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(result, numpy.ndarray):
            return arrays()
        return SEQUENCES if hasattr(result, "__len__") and hasattr(result, "__getitem__") else None


class Lists(Sequences):
    """Lists; as arguments also what can be made a list."""

    # Smaller than a list, and soon no work for the garbage collector.
    copy = staticmethod(tuple)  # type: ignore[assignment]

    def parts(self, value: Any, sizes: list[int]) -> list[Any]:
        if len(sizes) == len(value):
            return [[row] for row in value]
        return [value[start:stop] for start, stop in pairwise(accumulate(sizes, initial=0))]

    def items(self, value: Any) -> list[Any]:
        return list(value)


class Items(Sequences):
    """Single elements, which are joined to lists."""

    def rows(self, value: Any) -> int:
        return 1

    def join(self, values: list[Any]) -> list[Any]:
        return values

    def copy(self, value: Any) -> Any:
        return value


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
