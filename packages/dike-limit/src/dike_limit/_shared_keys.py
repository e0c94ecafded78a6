"""Names of sorted sets: which of them holds the leases of a limit, the same in every process."""

from collections.abc import Iterable
from enum import Enum
from typing import Any, cast


def sorted_set(name: str, key: Any = None) -> bytes:
    """Return the key in Redis for the limit `name`, or for one `key` of it.

    Different names or keys never meet, since every part says how long it is. Keys that are equal as keys of a `dict`
    (1, 1.0 and True) are one.

    Raises:
        TypeError: Nothing tells how `key` is written in another process.
    """
    own = b"dike:" + _text(name)
    return own if key is None else own + b":" + _encoded(key, key)


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(data), data)


def _encoded(value: Any, key: Any) -> bytes:
    """Return what stands for `value`, a part of `key`; the first letter tells its type."""
    if value is None:
        return b"n"
    if isinstance(value, Enum) and not isinstance(value, int | str | float):
        # Its value may be anything, so it goes by its name.
        return b"e" + _text(f"{type(value).__module__}.{type(value).__qualname__}.{value.name}")
    if isinstance(value, str):
        return b"s" + _text(value)
    if isinstance(value, bytes):
        return b"b%d:%b" % (len(value), value)
    if isinstance(value, float) and not value.is_integer():
        return b"f%b;" % value.hex().encode()
    if isinstance(value, int | float):
        return b"i%x;" % int(value)
    if isinstance(value, tuple | frozenset):
        parts = [_encoded(part, key) for part in cast("Iterable[Any]", value)]
        if isinstance(value, frozenset):
            return b"z%d:" % len(parts) + b"".join(sorted(parts))
        return b"t%d:" % len(parts) + b"".join(parts)
    from uuid import UUID  # Here, since it takes long to import, and is seldom needed.

    if isinstance(value, UUID):
        return b"u" + value.bytes
    raise TypeError(
        "with a SharedLimit, a key must be made of str, bytes, int, float, None, Enum, UUID, tuple and frozenset, "
        f"but got {key!r}"
    )
