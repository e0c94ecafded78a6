"""Exceptions of the function."""

import asyncio
import traceback
from typing import Any

import pytest
from batch.backend import settle, start
from dike_batch import batch


async def errors_of(error: BaseException, callers: int = 3, cause: BaseException | None = None) -> list[Any]:
    """Return what each caller gets if the function raises `error`."""

    @batch(target_batch_size=callers, max_waiting_time=1)
    async def failing(rows: list[int]) -> list[int]:
        raise error from cause

    return await asyncio.gather(*[failing([i]) for i in range(callers)], return_exceptions=True)


class WithAttributesError(Exception):
    def __init__(self, code: int, *, retryable: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.retryable = retryable


class WithATextError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


class WithRequiredKeywordError(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(code)


class WithSlotsError(Exception):
    __slots__ = ("code",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.code = 0


class WithAChangingTextError(Exception):
    def __str__(self) -> str:
        return str(id(self))


class WithABrokenTextError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class FrozenError(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise ZeroDivisionError


class UncopyableError(Exception):
    def __reduce__(self) -> Any:
        raise ZeroDivisionError


class CopiedAsAnotherError(Exception):
    def __reduce__(self) -> Any:
        return (KeyError, self.args)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text", 1),
        KeyError("key"),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "reason"),
        ImportError("text", name="module", path="path"),
        ExceptionGroup("group", [ValueError(1), KeyError(2)]),
        WithAttributesError(5, retryable=True),
        AssertionError(),
        GeneratorExit(),
    ],
    ids=repr,
)
async def test_each_caller_gets_an_exception_of_its_own_the_first_the_original(error: BaseException) -> None:
    errors = await errors_of(error)
    assert errors[0] is error
    assert len(set(map(id, errors))) == 3
    for each in errors:
        assert type(each) is type(error)
        assert each.args == error.args
        assert str(each) == str(error)
        assert vars(each) == vars(error)


@pytest.mark.parametrize(
    "error",
    [
        WithATextError(5),
        WithRequiredKeywordError(code=5),
        WithAChangingTextError(),
        WithABrokenTextError(),
        FrozenError(),
        UncopyableError(),
        CopiedAsAnotherError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_exception_that_cannot_be_copied_faithfully_is_shared(error: BaseException) -> None:
    assert await errors_of(error) == [error] * 3


async def test_attributes_without_a_dict_count_too() -> None:
    error = WithSlotsError("x")
    error.code = 5
    assert await errors_of(error) == [error] * 3
    error.code = 0
    assert len(set(map(id, await errors_of(error)))) == 3


async def test_attributes_that_some_versions_of_python_do_not_copy_are_never_lost() -> None:
    with pytest.raises(AttributeError) as info:
        object().missing  # type: ignore[attr-defined]  # noqa: B018
    errors = await errors_of(info.value)
    assert [(error.name, error.obj) for error in errors] == [("missing", info.value.obj)] * 3


async def test_arguments_that_cannot_be_compared_do_no_harm() -> None:
    import numpy as np

    errors = await errors_of(ValueError(np.zeros(2), float("nan")))
    assert len(set(map(id, errors))) == 3


async def test_copies_have_the_same_cause_and_traceback() -> None:
    cause = KeyError("cause")
    errors = await errors_of(ValueError("text"), cause=cause)
    assert [error.__cause__ for error in errors] == [cause] * 3
    assert all(error.__suppress_context__ for error in errors)
    for error in errors:
        assert "failing" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]


async def test_copies_have_the_same_context() -> None:
    @batch(target_batch_size=2, max_waiting_time=1)
    async def failing(rows: list[int]) -> list[int]:
        try:
            raise KeyError("context")
        except KeyError:
            raise ValueError("text")  # noqa: B904

    first, second = await asyncio.gather(failing([1]), failing([2]), return_exceptions=True)
    assert isinstance(first, ValueError)
    assert isinstance(second, ValueError)
    assert first.__context__ is second.__context__
    assert repr(second.__context__) == "KeyError('context')"
    assert not second.__suppress_context__


async def test_what_one_caller_notes_on_its_exception_the_others_do_not_see() -> None:
    error = ValueError("text")
    error.add_note("of the function")
    errors = await errors_of(error)
    for i, each in enumerate(errors):
        each.add_note(f"of caller {i}")
    assert [each.__notes__ for each in errors] == [["of the function", f"of caller {i}"] for i in range(3)]


async def test_tracebacks_do_not_grow_with_the_number_of_callers() -> None:
    errors = await errors_of(ValueError("text"), callers=50)
    lengths = {len(traceback.extract_tb(error.__traceback__)) for error in errors}
    assert len(lengths) == 1
    assert lengths.pop() < 6


async def test_the_first_caller_that_is_still_there_gets_the_original() -> None:
    error = ValueError("text")
    gate = asyncio.get_running_loop().create_future()

    @batch(target_batch_size=3, max_waiting_time=1)
    async def failing(rows: list[int]) -> list[int]:
        await gate
        raise error

    first, second, third = [start(failing([i])) for i in range(3)]
    await settle()
    first.cancel()
    await settle()
    gate.set_result(None)
    await settle()
    assert second.exception() is error
    assert repr(third.exception()) == repr(error)
    assert third.exception() is not error


async def test_a_cancelled_error_of_the_function_is_a_runtime_error_of_each_caller() -> None:
    errors = await errors_of(asyncio.CancelledError())
    assert [(type(error), str(error)) for error in errors] == [(RuntimeError, "a batch of failing() was cancelled")] * 3
    assert len(set(map(id, errors))) == 3


async def test_a_batch_whose_task_is_cancelled_by_somebody_is_a_runtime_error_of_each_caller() -> None:
    tasks: list[Any] = []

    @batch(target_batch_size=1, max_waiting_time=1)
    async def function(rows: list[int]) -> list[int]:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(10)
        return rows

    call = start(function([1]))
    await settle()
    tasks[0].cancel()
    with pytest.raises(RuntimeError, match=r"a batch of function\(\) was cancelled"):
        await call


async def test_stop_iteration_of_the_function_is_a_runtime_error_as_with_any_coroutine() -> None:
    errors = await errors_of(StopIteration())
    assert [type(error) for error in errors] == [RuntimeError] * 3


@pytest.mark.parametrize("error", [ValueError(), asyncio.CancelledError(), GeneratorExit()], ids=repr)
async def test_after_any_failure_the_next_call_works(error: BaseException) -> None:
    outcomes = [error]

    @batch(target_batch_size=2, max_waiting_time=1, max_concurrent_batches=1)
    async def function(rows: list[int]) -> list[int]:
        if outcomes:
            raise outcomes.pop()
        return rows

    await asyncio.gather(function([1]), function([2]), return_exceptions=True)
    assert await asyncio.gather(function([1]), function([2])) == [[1], [2]]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_ends_the_program_and_leaves_no_caller_hanging(error: type[BaseException]) -> None:
    ended = []

    @batch(target_batch_size=2, max_waiting_time=1)
    async def leave(rows: list[int]) -> list[int]:
        raise error

    async def caller(row: int) -> None:
        try:
            await leave([row])
        finally:
            ended.append(row)

    async def main() -> None:
        await asyncio.gather(caller(1), caller(2))

    with pytest.raises(error):
        asyncio.run(main())
    assert sorted(ended) == [1, 2]
