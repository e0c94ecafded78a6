"""What a batch comes to, result or exception, as results and exceptions of its calls."""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, TypeVar, cast

from dike_batch._containers import ITEMS, Container

Error = TypeVar("Error", bound=BaseException)

WHAT_TO_RETURN = "return a list, an array, or a dict of columns instead"


def cut(result: Any, sizes: list[int], container: Container, name: str) -> tuple[list[Any], dict[int, Exception]]:
    """Cut `result` into one part for each of `sizes`.

    Args:
        result: What the function has returned.
        sizes: The number of rows of each call.
        container: What the arguments of the function are.
        name: The name of the function, for the text of exceptions.

    Returns:
        The parts, each a container of its own, and the exceptions that take the place of parts, by their index.

    Raises:
        ValueError: The result has not as many rows as the batch.
        TypeError: The result is no container of rows.
    """
    if isinstance(result, dict):
        return _cut_columns(cast("Any", result), sizes, container, name), {}
    parts = _parts(result, sizes, container, f"{name}() returned")
    return parts, _exceptions(parts) if container is ITEMS else {}


def join(results: list[Any], container: Container) -> Any:
    """Put together the results of the pieces of one call.

    Raises:
        ValueError: Some are dicts with other columns than the first, or only some are dicts.
    """
    if any(isinstance(result, dict) for result in results):
        return _join_columns(results, container)
    return container.join(results)


def one_each(error: Error, count: int) -> list[Error]:
    """Return `count` exceptions: `error`, and copies of it as far as it can be copied.

    An exception that several tasks raise would collect the tracebacks of all, and what one caller notes on it the
    others would read.
    """
    return [error if index == 0 else _copy(error) for index in range(count)]


def _cut_columns(result: dict[Any, Any], sizes: list[int], container: Container, name: str) -> list[Any]:
    if not result:
        raise ValueError(f"{name}() returned a dict of 0 columns for a batch of {sum(sizes)} rows")
    columns = [
        _parts(column, sizes, container, f"{name}() returned, in column {key!r},") for key, column in result.items()
    ]
    return [dict(zip(result, parts, strict=True)) for parts in zip(*columns, strict=True)]


def _join_columns(results: list[dict[Any, Any]], container: Container) -> dict[Any, Any]:
    first = results[0]
    if any(not isinstance(result, dict) or result.keys() != first.keys() for result in cast("list[Any]", results)):
        raise ValueError("The batches of one call returned dicts with different columns")
    return {key: container.join([result[key] for result in results]) for key in first}


def _parts(result: Any, sizes: list[int], container: Container, returned: str) -> list[Any]:
    if isinstance(result, tuple):
        raise TypeError(f"{returned} a tuple; {WHAT_TO_RETURN}")
    own = container.of_result(result)
    if own is None:
        raise TypeError(f"{returned} an object of type {type(result).__name__}; {WHAT_TO_RETURN}")
    rows = own.rows(result)
    if rows != sum(sizes):
        raise ValueError(f"{returned} {rows} rows for a batch of {sum(sizes)} rows")
    return own.items(result) if container is ITEMS else own.parts(result, sizes)


def _exceptions(items: list[Any]) -> dict[int, Exception]:
    same: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        if isinstance(item, Exception):
            same.setdefault(id(item), []).append(index)
    errors: dict[int, Exception] = {}
    for indexes in same.values():
        error: Exception = items[indexes[0]]
        if isinstance(error, StopIteration):  # neither a coroutine nor a future can raise it
            stop, error = error, RuntimeError(f"The result is {error!r}")
            error.__cause__ = stop
        errors.update(zip(indexes, one_each(error, len(indexes)), strict=True))
    return errors


def _copy(error: Error) -> Error:
    import copy  # Late, as it takes long and is seldom needed.

    try:
        own = copy.copy(error)
        notes = getattr(error, "__notes__", None)
        if notes is not None:
            own.__notes__ = list(notes)
        if type(own) is not type(error) or str(own) != str(error) or _state(own) != _state(error):
            return error
        own.__cause__ = error.__cause__
        own.__context__ = error.__context__
        own.__suppress_context__ = error.__suppress_context__
        return own.with_traceback(error.__traceback__)
    except Exception:
        return error


def _state(error: BaseException) -> dict[str, Any]:
    """Return the attributes of an exception, its args and others that are not in its `__dict__` included."""
    state = dict(vars(error))
    for cls in type(error).__mro__:
        for name, attribute in vars(cls).items():
            if isinstance(attribute, GetSetDescriptorType | MemberDescriptorType) and not name.startswith("__"):
                state[name] = getattr(error, name, None)
    return state
