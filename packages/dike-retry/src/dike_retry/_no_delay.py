"""A switch for tests: retry without waiting."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

waits_nothing = ContextVar("dike_retry.no_delay", default=False)


@contextmanager
def no_delay() -> Generator[None, None, None]:
    """Make every sleep between attempts 0 seconds long inside the ``with`` block, for users' tests.

    All else stays as it is: attempts are counted, budgets are drawn on, and `asyncio.sleep` is still awaited, so other
    tasks get their turn. The switch is a `contextvars.ContextVar`: it holds for the code in the block and for the tasks
    started there, not for other tasks or threads.

    Example:
        >>> import asyncio
        >>> from dike_retry import no_delay, retry
        >>> calls = []
        >>> @retry(attempts=3, delay=3600)
        ... async def flaky():
        ...     calls.append("call")
        ...     if len(calls) < 3:
        ...         raise ConnectionError("not yet")
        ...     return "done"
        >>> async def main():
        ...     with no_delay():
        ...         return await flaky()
        >>> asyncio.run(main()), len(calls)
        ('done', 3)
    """
    token = waits_nothing.set(True)
    try:
        yield
    finally:
        waits_nothing.reset(token)
