"""No exception, and no frame that its traceback refers to, is kept longer than needed."""

import asyncio
import contextlib
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from dike_retry import FailedAttempt, retry


class Failure(Exception):  # noqa: N818
    pass


class Resource:
    """Stands for what a frame holds."""


@pytest.fixture(autouse=True)
def _without_garbage_collector_and_log() -> Iterator[None]:
    # References counted to zero are enough: cycles would show up as objects still alive.
    logger = logging.getLogger("dike")
    gc.collect()
    gc.disable()
    logger.disabled = True
    yield
    logger.disabled = False
    gc.enable()


def ignore(attempt: FailedAttempt) -> None:
    pass


@pytest.mark.parametrize("options", [{}, {"on_failure": ignore}, {"timeout": 60}])
async def test_a_sleep_keeps_no_frame_alive_unless_there_is_a_deadline(options: dict[str, Any]) -> None:
    references: list[weakref.ref[Any]] = []

    @retry(delay=1, **options)
    async def func() -> str:
        if references:
            return "done"
        resource, failure = Resource(), Failure()
        references.extend([weakref.ref(resource), weakref.ref(failure)])
        try:
            raise failure
        finally:
            del failure

    task = asyncio.create_task(func())
    await asyncio.sleep(0.5)
    assert [reference() is not None for reference in references] == [bool(options.get("timeout"))] * 2
    assert await task == "done"
    assert [reference() for reference in references] == [None, None]


@pytest.mark.parametrize("options", [{}, {"on_failure": ignore}, {"timeout": 60}, {"timeout": 1}])
async def test_the_exception_of_a_call_is_gone_once_it_was_handled(options: dict[str, Any]) -> None:
    references: list[weakref.ref[Any]] = []

    @retry(attempts=3, delay=1, **options)
    async def func() -> None:
        failure = Failure()
        references.append(weakref.ref(failure))
        try:
            raise failure
        finally:
            del failure

    task = asyncio.create_task(func())
    await asyncio.wait([task])
    assert isinstance(task.exception(), Failure)
    del task
    assert [reference() for reference in references] == [None] * len(references)


async def test_the_timeout_error_and_its_cause_are_gone_once_handled() -> None:
    references: list[weakref.ref[Any]] = []

    @retry(delay=1, timeout=3)
    async def func() -> None:
        resource = Resource()
        references.append(weakref.ref(resource))
        if len(references) > 1:
            await asyncio.sleep(60)
        raise Failure

    task = asyncio.create_task(func())
    await asyncio.wait([task])
    error = task.exception()
    assert isinstance(error, TimeoutError)
    assert isinstance(error.__cause__, Failure)
    del task, error
    assert [reference() for reference in references] == [None, None]


@pytest.mark.parametrize("options", [{}, {"timeout": 60}])
async def test_a_cancelled_call_leaves_nothing_behind(options: dict[str, Any]) -> None:
    references: list[weakref.ref[Any]] = []

    @retry(delay=1, **options)
    async def func() -> None:
        failure = Failure()
        references.append(weakref.ref(failure))
        try:
            raise failure
        finally:
            del failure

    task = asyncio.create_task(func())
    await asyncio.sleep(1.5)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    del task
    assert [reference() for reference in references] == [None, None]


async def test_an_exception_thrown_into_a_stream_is_gone_once_handled() -> None:
    @retry()
    async def stream() -> AsyncIterator[int]:
        while True:
            with contextlib.suppress(Failure):
                yield 1

    items: Any = stream()
    await anext(items)
    failure = Failure()
    reference = weakref.ref(failure)
    await items.athrow(failure)
    del failure
    assert reference() is None
    await items.aclose()


async def test_many_deadlines_met_in_time_leave_no_timers() -> None:
    @retry(timeout=3600)
    async def func() -> None:
        await asyncio.sleep(0)

    for _ in range(1000):
        await func()
    loop: Any = asyncio.get_running_loop()
    assert len(loop._scheduled) <= 200  # asyncio drops cancelled timers when they are many
