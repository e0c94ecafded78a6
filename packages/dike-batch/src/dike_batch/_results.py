"""A batch's result, cut into the results of its calls."""

from collections.abc import Sequence
from typing import Any

from dike_batch._arguments import ITEMS, ArgumentType
from dike_batch._errors import one_each

WHAT_TO_RETURN = "a list, an array or a dict of them, with one row for each row of the batch"


def cut(
    result: Any, sizes: Sequence[int], argument_type: ArgumentType, name: str
) -> tuple[list[Any], dict[int, Exception]]:
    """Cut `result` into one part for each of `sizes`.

    Args:
        result: What the function has returned.
        sizes: The number of rows of each call.
        argument_type: The argument type of the function.
        name: The name of the function, for the text of exceptions.

    Returns:
        The parts, each a container of its own, and the exceptions that take the place of parts, by their index.

    Raises:
        ValueError: The number of rows is not the batch's.
        TypeError: The result is not a container of rows.
    """
    if isinstance(result, dict):
        columns = [_parts(column, sizes, argument_type, f"{name}()[{key!r}]") for key, column in result.items()]
        if not columns:
            raise ValueError(f"{name}() returned no columns for a batch of {sum(sizes)} rows")
        return [dict(zip(result, parts, strict=True)) for parts in zip(*columns, strict=True)], {}
    parts = _parts(result, sizes, argument_type, f"{name}()")
    return parts, _exceptions(parts) if argument_type is ITEMS else {}


def join(results: list[Any], argument_type: ArgumentType) -> Any:
    """Put together the results of the pieces of one call.

    Raises:
        ValueError: Some results are dicts of other columns than the first, or no dicts at all.
    """
    first = results[0]
    if not isinstance(first, dict):
        return argument_type.join(results)
    if any(not isinstance(result, dict) or result.keys() != first.keys() for result in results):
        raise ValueError("The batches of one call returned unlike results")
    return {key: argument_type.join([result[key] for result in results]) for key in first}


def _parts(result: Any, sizes: Sequence[int], argument_type: ArgumentType, name: str) -> list[Any]:
    if isinstance(result, tuple):
        raise TypeError(f"{name} returned a tuple; return {WHAT_TO_RETURN}")
    container = argument_type._container(result)
    try:
        rows = container.rows(result)
    except TypeError as error:
        raise TypeError(
            f"{name} returned an object of type {type(result).__name__}; return {WHAT_TO_RETURN}"
        ) from error
    if rows != sum(sizes):
        raise ValueError(f"{name} returned {rows} rows for a batch of {sum(sizes)} rows")
    part = container._part
    parts = []
    start = 0
    for size in sizes:
        stop = start + size
        parts.append(part(result, start, stop))
        start = stop
    return [part[0] for part in parts] if argument_type is ITEMS else parts


def _exceptions(items: list[Any]) -> dict[int, Exception]:
    same: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        if isinstance(item, Exception):
            same.setdefault(id(item), []).append(index)
    errors: dict[int, Exception] = {}
    for indexes in same.values():
        error = items[indexes[0]]
        if isinstance(error, StopIteration):  # which no coroutine and no future can raise
            cause, error = error, RuntimeError(f"the result of this item is {error!r}")
            error.__cause__ = cause
        errors.update(zip(indexes, one_each(error, len(indexes)), strict=True))
    return errors
