"""Options are checked when the decorator is built or applied, and the message names what was wrong."""

import functools
import inspect
import math
import threading
from datetime import timedelta
from typing import Any

import pytest
from dike_limit import JobLimiter, limit_jobs


@pytest.mark.parametrize("limit", [-1, -0.1, -math.inf, math.nan])
def test_a_negative_limit_and_nan_are_refused_with_the_text_of_old(limit: float) -> None:
    with pytest.raises(ValueError) as info:  # noqa: PT011

        @limit_jobs(limit=limit)
        async def f() -> None: ...

    assert str(info.value) == "Error when wrapping f(). Limit must be >= 0!"


@pytest.mark.parametrize(
    ("options", "error", "value"),
    [
        ({"limit": "1"}, TypeError, "'1'"),
        ({"limit": None}, TypeError, "None"),
        ({"limit": True}, TypeError, "True"),
        ({"limit": 1j}, TypeError, "1j"),
        ({"max_waiting_time": -1}, ValueError, "-1"),
        ({"max_waiting_time": math.nan}, ValueError, "nan"),
        ({"max_waiting_time": timedelta(seconds=-1)}, ValueError, "datetime.timedelta(days=-1, seconds=86399)"),
        ({"max_waiting_time": "1"}, TypeError, "'1'"),
        ({"max_waiting_time": None}, TypeError, "None"),
        ({"max_waiting_time": True}, TypeError, "True"),
        ({"max_waiting_calls": -1}, ValueError, "-1"),
        ({"max_waiting_calls": math.nan}, ValueError, "nan"),
        ({"max_waiting_calls": "1"}, TypeError, "'1'"),
        ({"max_waiting_calls": False}, TypeError, "False"),
        ({"share": 0}, ValueError, "0"),
        ({"share": 1.5}, ValueError, "1.5"),
        ({"share": -0.5}, ValueError, "-0.5"),
        ({"share": math.nan}, ValueError, "nan"),
        ({"share": True}, TypeError, "True"),
        ({"share": "1"}, TypeError, "'1'"),
        ({"share": None}, TypeError, "None"),
        ({"key": "name"}, TypeError, "'name'"),
        ({"key": 1}, TypeError, "1"),
    ],
)
def test_a_wrong_option_is_named_with_its_value(options: Any, error: type[Exception], value: str) -> None:
    with pytest.raises(error) as info:
        limit_jobs(**{"limit": 1, **options})
    assert f"{next(iter(options))} must be" in str(info.value)
    assert str(info.value).endswith(f"but got {value}")


@pytest.mark.parametrize("option", ["key", "share"])
def test_key_and_share_must_not_be_async(option: str) -> None:
    """A coroutine is hashable: each call would have a limit of its own."""

    async def coroutine(*args: object) -> None: ...

    async def stream(*args: object) -> Any:
        yield

    for function in (coroutine, stream, functools.partial(coroutine)):
        with pytest.raises(TypeError, match=f"{option} must be a function, and not an async one, but got <?func"):
            limit_jobs(limit=1, **{option: function})  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [lambda: None, print, int, 1, None, functools.partial(print)])
def test_only_async_functions_can_be_limited(function: Any) -> None:
    with pytest.raises(ValueError) as info:  # noqa: PT011
        limit_jobs(limit=1)(function)
    assert str(info.value) == f"Error when wrapping {function!s}. Only coroutines can be wrapped!"


def test_all_options_are_keyword_only_and_limit_is_required() -> None:
    parameters = inspect.signature(limit_jobs).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "limit": inspect.Parameter.empty,
        "max_waiting_time": 0.0,
        "max_waiting_calls": None,
        "key": None,
        "share": 1.0,
    }
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())


def test_the_decorator_is_a_job_limiter() -> None:
    assert type(limit_jobs(limit=1)) is JobLimiter


def test_nothing_is_made_that_belongs_to_an_event_loop() -> None:
    """A decorator is built at import, in a thread without an event loop."""
    errors = []

    def build() -> None:
        try:

            @limit_jobs(limit=1, max_waiting_time=1)
            async def func() -> None: ...

        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert errors == []
