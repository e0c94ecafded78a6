"""Containers of rows that are not built in; apart, since the rest is imported only for batched functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
