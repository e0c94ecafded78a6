"""Checks of options, with the offending value in the message.

Each package of dike stands alone, so each has this file; a test keeps the copies equal.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import timedelta as timedelta
else:
    try:
        # The class alone: on Python 3.11 the rest of datetime takes longer to import than most packages of dike.
        from _datetime import timedelta
    except ImportError:  # pragma: no cover
        from datetime import timedelta


def number(name: str, value: Any) -> float:
    """Return the real number `value` as a float.

    Raises:
        TypeError: `value` is not a number, or is a bool, which would silently pass for 0 or 1.
        ValueError: `value` is not a number that a float can hold, NaN included.
    """
    if not _is_real(value):
        raise TypeError(f"{name} must be a number, but got {value!r}")
    try:
        result = float(value)
    except OverflowError:
        raise ValueError(f"{name} must fit in a float, but got a number of that size") from None
    require(not math.isnan(result), name, "a number", value)
    return result


def seconds(name: str, value: Any) -> float:
    """Return `value`, a number of seconds or a `timedelta`, as float seconds.

    Raises:
        TypeError: `value` is neither.
        ValueError: `value` is NaN or too large.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not _is_real(value):
        raise TypeError(f"{name} must be a number of seconds or a timedelta, but got {value!r}")
    return number(name, value)


def require(condition: bool, name: str, requirement: str, value: Any) -> None:
    """Raise `ValueError` unless `condition` holds: ``{name} must be {requirement}, but got {value!r}``."""
    if not condition:
        raise ValueError(f"{name} must be {requirement}, but got {value!r}")


def _is_real(value: Any) -> bool:
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    import numbers  # Late, as few have numbers of other types, such as numpy's.

    return isinstance(value, numbers.Real)
