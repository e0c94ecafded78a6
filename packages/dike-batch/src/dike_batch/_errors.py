"""An exception for each caller."""

from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, TypeVar

Error = TypeVar("Error", bound=BaseException)


def one_each(error: Error, count: int) -> list[Error]:
    """Return `count` exceptions: `error`, and copies of it as far as it can be copied.

    An exception that several tasks raise would collect the tracebacks of all, and what one caller notes on it the
    others would read.
    """
    return [error if index == 0 else _copy(error) for index in range(count)]


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
