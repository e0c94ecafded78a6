"""Containers of rows: how arguments are joined, and how results are cut."""

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from itertools import accumulate, chain, pairwise
from typing import Any


class ArgumentType(ABC):
    """A container of rows that `batch` does not know by itself, such as a tensor or a data frame.

    Derive a class from it, and pass an instance as ``argument_type=``. The results of the function are cut, and put
    together again, by the same methods.

    Example:
        >>> import asyncio
        >>> from dike_batch import ArgumentType, batch
        >>> class Text(ArgumentType):
        ...     def rows(self, value: str) -> int:
        ...         return len(value)
        ...
        ...     def join(self, values: list[str]) -> str:
        ...         return "".join(values)
        ...
        ...     def slice(self, value: str, start: int, stop: int) -> str:
        ...         return value[start:stop]
        >>> @batch(target_batch_size=5, max_waiting_time=0.01, argument_type=Text())
        ... async def shout(text: str) -> str:
        ...     print("shouting", text)
        ...     return text.upper()
        >>> async def main() -> None:
        ...     print(await asyncio.gather(shout("ab"), shout("cde")))
        >>> asyncio.run(main())
        shouting abcde
        ['AB', 'CDE']
    """

    @abstractmethod
    def rows(self, value: Any) -> int:
        """Return the number of rows of `value`."""

    @abstractmethod
    def join(self, values: list[Any]) -> Any:
        """Return a new container with the rows of all `values`, one container after the other.

        Containers are copied by it too: of a single one it must return a copy, not the container itself.
        """

    @abstractmethod
    def slice(self, value: Any, start: int, stop: int) -> Any:
        """Return the rows of `value` from `start` up to `stop`; a view of them will do."""

    # The rest has quicker ways for the containers that are built in.

    def _copy(self, value: Any) -> Any:
        return self.join([value])

    def _parts(self, value: Any, sizes: list[int]) -> list[Any]:
        """Return consecutive parts of `value` with so many rows, each a container of its own."""
        bounds = pairwise(accumulate(sizes, initial=0))
        return [self._copy(self.slice(value, start, stop)) for start, stop in bounds]

    def _items(self, value: Any) -> list[Any]:
        """Return the rows of `value`."""
        return [part[0] for part in self._parts(value, [1] * self.rows(value))]

    # Returns what must be equal for values to be joined, if there is something.
    _kind: Callable[[Any], Hashable] | None = None

    def _container(self, result: Any) -> "ArgumentType | None":
        """Return the type by which `result` is cut, if there is one."""
        return self


class Sequences(ArgumentType):
    """Whatever has a length and can be sliced: what the built-in types have in common."""

    rows = staticmethod(len)  # type: ignore[assignment]

    def join(self, values: list[Any]) -> Any:
        return list(chain.from_iterable(values))

    def slice(self, value: Any, start: int, stop: int) -> Any:
        return value[start:stop]

    def _copy(self, value: Any) -> Any:
        return copy.copy(value)

    def _container(self, result: Any) -> ArgumentType | None:
        if isinstance(result, list):
            return LISTS
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(result, numpy.ndarray):
            from dike_batch._numpy import ARRAYS

            return ARRAYS
        return SEQUENCES if hasattr(result, "__len__") and hasattr(result, "__getitem__") else None


class Lists(Sequences):
    """Lists; as arguments also what can be made a list."""

    # Smaller than a list, and soon no work for the garbage collector.
    _copy = staticmethod(tuple)  # type: ignore[assignment]

    def _parts(self, value: Any, sizes: list[int]) -> list[Any]:
        if len(sizes) == len(value):
            return [[row] for row in value]
        return [value[start:stop] for start, stop in pairwise(accumulate(sizes, initial=0))]

    def _items(self, value: Any) -> list[Any]:
        return list(value)


class Items(Sequences):
    """Single elements, which are joined to lists."""

    def rows(self, value: Any) -> int:
        return 1

    def join(self, values: list[Any]) -> list[Any]:
        return values

    def _copy(self, value: Any) -> Any:
        return value


SEQUENCES = Sequences()
LISTS = Lists()
ITEMS = Items()


def argument_type(value: Any) -> ArgumentType:
    """Return the `ArgumentType` that the option of `batch` stands for.

    Raises:
        ValueError: There is none, or it needs numpy, which is not installed.
    """
    if isinstance(value, ArgumentType):
        return value
    if value == "list":
        return LISTS
    if value == "item":
        return ITEMS
    if value == "numpy":
        try:
            import numpy  # noqa: F401
        except ImportError:
            raise ValueError('Unable to use "numpy" as argument_type because numpy is not available') from None
        from dike_batch._numpy import ARRAYS

        return ARRAYS
    raise ValueError(
        f'argument_type must be "list", "numpy", "item" or an instance of a subclass of ArgumentType, but got {value!r}'
    )
