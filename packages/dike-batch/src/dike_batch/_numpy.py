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

    copy = staticmethod(np.array)  # type: ignore[assignment]

    def parts(self, value: Any, sizes: list[int]) -> list[Any]:
        if len(sizes) == len(value) and type(value) is np.ndarray:
            return [row.copy() for row in value[:, np.newaxis]]
        return [value[start:stop].copy() for start, stop in pairwise(accumulate(sizes, initial=0))]

    @staticmethod
    def kind(value: Any) -> Hashable:
        dtype = value.dtype
        kind = dtype.kind
        if kind in KEPT_APART_BY_DTYPE:
            kind = dtype
        return kind if value.ndim == 1 else (kind, value.shape[1:])


ARRAYS = Arrays()
