"""Wrong options are refused when the decorator is built, with the offending value in the message."""

import math
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from dike_retry import RetryBudget, retry

NAN = float("nan")
INF = float("inf")
FOREVER = timedelta.max


async def coroutine_function(*args: object) -> bool:
    return True


async def stream(*args: object) -> AsyncIterator[bool]:
    yield True


class AsyncCallable:
    async def __call__(self, *args: object) -> bool:
        return True


ASYNC_CALLABLE = AsyncCallable()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("attempts", value) for value in (0, 0.5, -1, -INF, NAN, True, False, "3", 1j, Decimal(3), [3], 10**400)),
        *(("delay", value) for value in (-1, -0.001, INF, -INF, NAN, "1", True, [1], timedelta(seconds=-1))),
        *(("backoff", value) for value in (-1, -0.5, INF, NAN, "2", None, True, timedelta(seconds=2))),
        *(("max_delay", value) for value in (-1, NAN, "1", False, timedelta(seconds=-1))),
        *(("jitter", value) for value in (2, 1.001, -0.1, INF, NAN, "0.5", None, True)),
        *(("timeout", value) for value in (0, 0.0, -1, NAN, "1", True, timedelta(0), timedelta(seconds=-1))),
        *(("log_exception_info", value) for value in (None, 1, "yes")),
        *(("exception_types", value) for value in (None, "ValueError", int, ValueError("instance"), [ValueError])),
        *(("exception_types", value) for value in ((ValueError, int), (ValueError, (KeyError,)), {ValueError}, object)),
        *(("retry_if", value) for value in (True, 1.0, "f", coroutine_function, stream, ASYNC_CALLABLE)),
        *(("budget", value) for value in (True, 0.1, RetryBudget, "budget")),
        *(("on_failure", value) for value in (True, "print", [print], coroutine_function, stream, ASYNC_CALLABLE)),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_with_its_name_and_value(name: str, value: object) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises((TypeError, ValueError)) as info:
        retry(**options)
    assert name in str(info.value)
    assert repr(value) in str(info.value) or value == 10**400


def test_a_max_delay_below_delay_is_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"max_delay must be at least the delay of 2s, but got 1"):
        retry(delay=2, max_delay=1)


def test_options_are_keyword_only() -> None:
    untyped: Any = retry
    with pytest.raises(TypeError):
        untyped(3)


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": None},
        {"attempts": INF},
        {"attempts": 1},
        {"delay": 0},
        {"delay": None, "max_delay": 0},
        {"delay": 1, "max_delay": 1},
        {"max_delay": INF},
        {"backoff": 0},
        {"jitter": 0},
        {"jitter": 1},
        {"timeout": INF},
        {"timeout": 5e-324},
        {"timeout": timedelta(microseconds=1)},
        {"exception_types": ()},
        {"exception_types": BaseException},
        {"exception_types": BaseExceptionGroup},
        {"retry_if": bool},
        {"on_failure": print},
    ],
)
def test_the_edges_of_what_is_right_are_accepted(options: dict[str, Any]) -> None:
    assert callable(retry(**options))


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option in ("ratio", "capacity") for value in (-1, -0.1, INF, NAN, "1", None, True)],
)
def test_a_wrong_budget_is_refused_with_the_name_and_value(option: str, value: object) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises((TypeError, ValueError)) as info:
        RetryBudget(**options)
    assert option in str(info.value)
    assert repr(value) in str(info.value)


def test_the_options_of_a_budget_are_keyword_only() -> None:
    untyped: Any = RetryBudget
    with pytest.raises(TypeError):
        untyped(0.1)


def not_async() -> None:
    pass


def generator() -> Any:
    yield 1


class NotAsyncCallable:
    def __call__(self) -> None:
        pass


@pytest.mark.parametrize("func", [not_async, generator, print, NotAsyncCallable(), 3, None, math, AsyncCallable])
def test_what_is_not_async_is_refused_in_the_words_of_old(func: Any) -> None:
    text = f"Error when wrapping {func!s}. Only coroutines can be wrapped!"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        retry()(func)
