"""Numpy arrays as containers of rows; imported only where numpy is used."""

from typing import Any

import numpy as np

from dike_batch._arguments import Sequences

# Of these kinds not all types can be joined without loss: structures, dates and time differences with their units.
BY_DTYPE = "VMm"


class Arrays(Sequences):
    """Arrays, whose first axis counts the rows."""

    def rows(self, value: Any) -> int:
        if value.ndim == 0:
            raise TypeError(f"An array of rows must have at least one dimension, but got {value!r}")
        return len(value)

    def join(self, values: list[Any]) -> Any:
        return np.concatenate(values)

    def _copy(self, value: Any) -> Any:
        return np.array(value)

    def _part(self, value: Any, start: int, stop: int) -> Any:
        return value[start:stop].copy()

    def _kind(self, values: tuple[Any, ...]) -> Any:
        return tuple([(v.shape[1:], kind if (kind := v.dtype.kind) not in BY_DTYPE else v.dtype) for v in values])


ARRAYS = Arrays()
