"""Cancellation and its kind always come out, whatever the options say."""

import asyncio
from typing import Any

import pytest
from dike_retry import retry

FINAL = [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit]


class Interrupted(Exception, KeyboardInterrupt):  # noqa: N818
    """An ordinary exception and one of the four at once."""


@pytest.mark.parametrize("options", [{}, {"timeout": 10}])
@pytest.mark.parametrize("kind", [*FINAL, Interrupted])
def test_the_four_are_never_retried_even_if_base_exception_is_named(
    script: Any, kind: type[BaseException], options: dict[str, Any]
) -> None:
    error = kind("stop")
    func = script(error, "done")
    call = retry(exception_types=BaseException, **options)(func)()

    async def main() -> BaseException:
        # Out of the task they would end the loop.
        try:
            await call
        except BaseException as exc:
            return exc
        raise AssertionError("retried")

    assert asyncio.run(main()) is error
    assert func.calls == 1


@pytest.mark.parametrize("kind", FINAL)
@pytest.mark.parametrize("types", [BaseException, BaseExceptionGroup])
async def test_a_group_that_holds_one_of_the_four_is_never_retried(
    script: Any, kind: type[BaseException], types: type[BaseException]
) -> None:
    group = BaseExceptionGroup("some", [ValueError(), kind()])
    for error in (group, BaseExceptionGroup("outer", [OSError(), ExceptionGroup("e", [OSError()]), group])):
        func = script(error, "done")
        with pytest.raises(BaseExceptionGroup) as info:
            await retry(exception_types=types)(func)()
        assert info.value is error
        assert func.calls == 1


async def test_other_base_exceptions_are_retried_if_named(script: Any) -> None:
    class Unusual(BaseException):
        pass

    group = BaseExceptionGroup("some", [Unusual()])
    assert await retry(exception_types=BaseException)(script(Unusual(), group, "done"))() == "done"


@pytest.mark.parametrize("kind", [*FINAL, Interrupted])
def test_naming_one_of_the_four_is_refused(kind: type[BaseException]) -> None:
    for types in (kind, (ValueError, kind)):
        with pytest.raises(ValueError, match=f"exception_types must not name {kind.__name__}"):
            retry(exception_types=types)


@pytest.mark.parametrize("options", [{}, {"timeout": 10}, {"timeout": 10, "exception_types": BaseException}])
async def test_cancelled_in_an_attempt_comes_out_as_cancellation(options: dict[str, Any]) -> None:
    calls = 0

    @retry(**options)
    async def func() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(1)

    task = asyncio.create_task(func())
    await asyncio.sleep(0.5)
    task.cancel("reason")
    with pytest.raises(asyncio.CancelledError, match="reason"):
        await task
    assert calls == 1


@pytest.mark.parametrize("options", [{}, {"timeout": 10}])
async def test_cancelled_in_a_sleep_comes_out_without_a_false_context(script: Any, options: dict[str, Any]) -> None:
    func = script(ValueError(), "done")

    async def main() -> BaseException:
        try:
            await retry(delay=1, **options)(func)()
        except asyncio.CancelledError as exc:
            return exc
        raise AssertionError("not cancelled")

    task = asyncio.create_task(main())
    await asyncio.sleep(0.5)
    task.cancel()
    error = await task
    assert error.__context__ is None
    assert error.__cause__ is None
    assert func.calls == 1


async def test_an_error_made_of_a_cancellation_is_not_retried() -> None:
    calls = 0
    failed = []

    @retry(on_failure=failed.append)
    async def func() -> None:
        nonlocal calls
        calls += 1
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            raise ConnectionError("closed") from None

    task = asyncio.create_task(func())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(ConnectionError):
        await task
    assert calls == 1
    assert not failed


async def test_nothing_is_retried_while_the_task_is_being_cancelled(script: Any) -> None:
    func = script(KeyError(), "done")

    async def main() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            await retry()(func)()

    task = asyncio.create_task(main())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(KeyError):
        await task
    assert func.calls == 1


async def test_a_cancellation_that_was_taken_back_is_over(script: Any) -> None:
    func = script(ValueError(), "done")

    async def main() -> str:
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(2)
        except TimeoutError:
            pass
        return await retry()(func)()

    assert await asyncio.create_task(main()) == "done"


async def test_a_shielded_call_goes_on_when_who_waits_for_it_is_cancelled(script: Any) -> None:
    func = script(ValueError(), ValueError(), "done")
    inner = asyncio.create_task(retry(delay=1)(func)())

    async def main() -> None:
        await asyncio.shield(inner)

    outer = asyncio.create_task(main())
    await asyncio.sleep(0.5)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert await inner == "done"


async def test_the_users_own_timeout_around_the_call_ends_it() -> None:
    calls = 0

    @retry(delay=1)
    async def func() -> None:
        nonlocal calls
        calls += 1
        raise ValueError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5):
            await func()
    assert calls == 3


async def test_a_failed_task_group_in_a_task_of_its_own_is_retried() -> None:
    failures = iter([ValueError(), None])

    async def child() -> None:
        await asyncio.sleep(1)
        if (failure := next(failures)) is not None:
            raise failure

    async def group() -> str:
        async with asyncio.TaskGroup() as children:
            children.create_task(child())
        return "done"

    @retry()
    async def func() -> str:
        return await asyncio.create_task(group())

    assert await func() == "done"
