"""A function that does as it is told, and when it was called."""

import asyncio
from typing import Any

import pytest


class Script:
    """A coroutine function whose calls raise or return the given outcomes, in turn."""

    def __init__(self, *outcomes: object) -> None:
        self._outcomes = iter(outcomes)
        self.called_at: list[float] = []

    async def __call__(self, *args: object, **kwargs: object) -> Any:
        self.called_at.append(asyncio.get_running_loop().time())
        outcome = next(self._outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def calls(self) -> int:
        return len(self.called_at)

    @property
    def sleeps(self) -> list[float]:
        """The seconds between the calls, on the loop's clock."""
        return [later - earlier for earlier, later in zip(self.called_at, self.called_at[1:], strict=False)]


@pytest.fixture
def script() -> type[Script]:
    return Script
