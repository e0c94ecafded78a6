"""Numpy arrays as containers of rows; this module is imported only where numpy is used."""

from collections.abc import Hashable
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from dike_batch._containers import Sequences

# Structures, time differences and dates: a joined array could not hold all of its rows without loss.
KEPT_APART_BY_DTYPE = "VmM"


class Arrays(Sequences):
    """Arrays, whose first axis counts the rows; as arguments also what can be made an array."""

    def join(self, values: list[Any]) -> Any:
        return np.concatenate(values)

    has_kinds = True

    def take(self, value: Any) -> tuple[int, Any, Hashable]:
        array = value.copy() if type(value) is np.ndarray else np.array(value)
        dtype = array.dtype
        kind = dtype.kind
        if kind in KEPT_APART_BY_DTYPE:
            kind = dtype
        shape = array.shape
        if len(shape) == 2:
            return shape[0], array, (kind, shape[1])
        if len(shape) == 1:
            return shape[0], array, kind
        if not shape:
            raise TypeError(f"An array of rows must have at least one dimension, but got {value!r}")
        return shape[0], array, (kind, *shape[1:])

    def parts(self, value: Any, sizes: list[int]) -> list[Any]:
        if len(sizes) == len(value) and type(value) is np.ndarray:
            return [row.copy() for row in value[:, np.newaxis]]
        return [value[start:stop].copy() for start, stop in pairwise(accumulate(sizes, initial=0))]


ARRAYS = Arrays()
