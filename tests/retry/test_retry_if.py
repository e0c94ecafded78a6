"""retry_if decides about each exception, and honours what a server asks for."""

import random
from datetime import timedelta
from typing import Any

import pytest
from dike_retry import FailedAttempt, RetryBudget, retry


async def test_false_raises_the_exception_at_once(script: Any) -> None:
    func = script(KeyError("no"), "done")
    failed: list[FailedAttempt] = []
    with pytest.raises(KeyError):
        await retry(retry_if=lambda exc: False, on_failure=failed.append)(func)()
    assert func.calls == 1
    assert [each.gave_up for each in failed] == ["retry_if"]


async def test_true_takes_the_computed_delay(script: Any) -> None:
    func = script(KeyError(), KeyError(), KeyError(), "done")
    await retry(delay=1, backoff=2, max_delay=3, retry_if=lambda exc: True)(func)()
    assert func.sleeps == [1, 2, 3]


async def test_it_sees_the_exception_after_the_type_filter(script: Any) -> None:
    seen = []

    def decide(exc: KeyError) -> bool:
        seen.append(exc)
        return True

    errors = [KeyError(), KeyError(), ConnectionError()]
    with pytest.raises(ConnectionError):
        await retry(exception_types=KeyError, retry_if=decide)(script(*errors))()
    assert seen == errors[:2]


async def test_a_timedelta_is_the_exact_delay_and_the_backoff_advances_all_the_same(script: Any) -> None:
    func = script(KeyError(1), KeyError(0), KeyError(5), KeyError(0), "done")
    asked = retry(
        delay=1,
        backoff=2,
        jitter=0.5,
        retry_if=lambda exc: timedelta(seconds=exc.args[0]) if exc.args[0] else True,
    )(func)
    random.seed(7)
    await asked()
    random.seed(7)
    assert func.sleeps == [1, 2 * random.uniform(0.5, 1), pytest.approx(5), pytest.approx(8 * random.uniform(0.5, 1))]


async def test_a_timedelta_of_zero_retries_at_once(script: Any) -> None:
    func = script(KeyError(), "done")
    await retry(delay=1, retry_if=lambda exc: timedelta(0))(func)()
    assert func.sleeps == [0]


@pytest.mark.parametrize("asked", [timedelta(seconds=-1), timedelta(microseconds=-1), timedelta(seconds=5.5)])
async def test_a_negative_time_or_one_over_max_delay_gives_up(script: Any, asked: timedelta) -> None:
    failed: list[FailedAttempt] = []
    with pytest.raises(KeyError):
        await retry(max_delay=5, retry_if=lambda exc: asked, on_failure=failed.append)(script(KeyError()))()
    assert [each.gave_up for each in failed] == ["retry_if"]


async def test_a_time_as_long_as_max_delay_is_slept(script: Any) -> None:
    func = script(KeyError(), "done")
    await retry(max_delay=5, retry_if=lambda exc: timedelta(seconds=5))(func)()
    assert func.sleeps == [5]


@pytest.mark.parametrize(("asked", "slept"), [(9.5, True), (10, False), (11, False)])
async def test_a_time_over_what_is_left_gives_up(script: Any, asked: float, slept: bool) -> None:
    failed: list[FailedAttempt] = []
    func = script(KeyError(), "done")
    call = retry(timeout=10, retry_if=lambda exc: timedelta(seconds=asked), on_failure=failed.append)(func)
    if slept:
        assert await call() == "done"
    else:
        with pytest.raises(KeyError):
            await call()
    assert [each.gave_up for each in failed] == [None if slept else "timeout"]


@pytest.mark.parametrize("answer", [None, 0, 1, 1.0, 0.5, "yes", [], object()])
@pytest.mark.parametrize("options", [{}, {"timeout": 10}])
async def test_any_other_answer_is_a_type_error(script: Any, answer: object, options: dict[str, Any]) -> None:
    wrong: Any = lambda exc: answer  # noqa: E731
    func = script(KeyError(), "done")
    with pytest.raises(TypeError) as info:
        await retry(retry_if=wrong, **options)(func)()
    assert repr(answer) in str(info.value)
    assert func.calls == 1


@pytest.mark.parametrize("options", [{}, {"timeout": 10}])
async def test_an_exception_that_it_raises_comes_out(script: Any, options: dict[str, Any]) -> None:
    def broken(exc: Exception) -> bool:
        raise ConnectionError("broken")

    func = script(KeyError(), "done")
    with pytest.raises(ConnectionError, match="broken"):
        await retry(retry_if=broken, **options)(func)()
    assert func.calls == 1


async def test_the_checks_come_in_order_retry_if_attempts_timeout_budget(script: Any) -> None:
    reasons = []
    budget = RetryBudget(ratio=0, capacity=0)
    options: dict[str, Any] = {"attempts": 1, "timeout": 1, "delay": 1, "budget": budget}
    for retry_if in (lambda exc: False, lambda exc: True):
        for _ in range(len(options)):
            failed: list[FailedAttempt] = []
            with pytest.raises(KeyError):
                await retry(retry_if=retry_if, on_failure=failed.append, **options)(script(KeyError()))()
            reasons.append(failed[0].gave_up)
            if retry_if(KeyError()):
                options.pop(next(iter(options)))
    assert reasons == ["retry_if"] * 4 + ["attempts", "timeout", "budget", "budget"]
