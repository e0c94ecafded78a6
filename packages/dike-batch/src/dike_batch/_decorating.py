"""Options, checked with the offending value in the message, and the kinds of functions that can be decorated.

Each package of dike stands alone, so each has this file; a test keeps the copies equal.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any


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
    if _is_real(value):
        return number(name, value)
    from datetime import timedelta  # Late: it takes long, and who has a timedelta has imported it.

    if not isinstance(value, timedelta):
        raise TypeError(f"{name} must be a number of seconds or a timedelta, but got {value!r}")
    return value.total_seconds()


def require(condition: bool, name: str, requirement: str, value: Any) -> None:
    """Raise `ValueError` unless `condition` holds: ``{name} must be {requirement}, but got {value!r}``."""
    if not condition:
        raise ValueError(f"{name} must be {requirement}, but got {value!r}")


def _is_real(value: Any) -> bool:
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    import numbers  # Late, as few have numbers of other types, such as numpy's.

    return isinstance(value, numbers.Real)


_DESCRIPTORS: tuple[type[Any], ...] = (classmethod, staticmethod)
_NAMES = ("__module__", "__name__", "__qualname__", "__doc__")


def without_partial(func: Any) -> Any:
    """Return the callable inside any layers of `functools.partial`."""
    while isinstance(func, functools.partial):
        func = func.func
    return func


def named(func: Any) -> Any:
    """Return the function that gives `func` its name; an object with ``__call__`` is named by its class."""
    inner: object = without_partial(func)
    return inner if isinstance(getattr(inner, "__qualname__", None), str) else type(inner)


def is_coroutine_function(func: Any) -> bool:
    """Whether a call of `func` returns a coroutine, also if `func` is an object with ``async def __call__``."""
    func = without_partial(func)
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)


def is_async_generator_function(func: Any) -> bool:
    """Whether a call of `func` returns an async generator, also if `func` is an object with ``__call__``."""
    func = without_partial(func)
    return inspect.isasyncgenfunction(func) or inspect.isasyncgenfunction(type(func).__call__)


def wrap(
    func: Any,
    *,
    coroutine: Callable[[Any], Any],
    async_generator: Callable[[Any], Any] | None = None,
) -> Any:
    """Wrap `func` in the shell made for its kind, which then looks like `func`.

    Args:
        func: A function, a `functools.partial`, an object with ``__call__``, a `classmethod` or a `staticmethod`.
        coroutine: Makes the shell of a coroutine function.
        async_generator: Makes the shell of an async generator function; `None` refuses them.

    Raises:
        ValueError: `func` is of no kind that can be wrapped.
    """
    if isinstance(func, _DESCRIPTORS):
        return type(func)(wrap(func.__func__, coroutine=coroutine, async_generator=async_generator))
    if is_coroutine_function(func):
        shell = coroutine(func)
    elif async_generator is not None and is_async_generator_function(func):
        shell = async_generator(func)
    else:
        raise ValueError(f"Error when wrapping {func!s}. Only coroutines can be wrapped!")
    model = named(func)
    if inspect.isclass(model):
        # A class gives the names only: its attributes and their annotations are those of its instances.
        functools.update_wrapper(shell, model.__call__, updated=())
        functools.update_wrapper(shell, model, _NAMES, updated=())
    else:
        functools.update_wrapper(shell, model)
    shell.__wrapped__ = func
    return shell
