"""A budget limits retries to a share of the traffic."""

import asyncio
import threading
from typing import Any

import pytest
from dike_retry import FailedAttempt, RetryBudget, retry


async def test_a_new_budget_is_full() -> None:
    assert RetryBudget().balance == 10
    assert RetryBudget(ratio=0.5, capacity=2.5).balance == 2.5


async def test_a_retry_withdraws_one_and_a_success_deposits_the_ratio(script: Any) -> None:
    budget = RetryBudget(ratio=0.25, capacity=3)
    await retry(budget=budget)(script(KeyError(), KeyError(), "done"))()
    assert budget.balance == 1.25


async def test_it_never_holds_more_than_its_capacity(script: Any) -> None:
    budget = RetryBudget(ratio=2, capacity=3)
    await retry(budget=budget)(script(KeyError(), "done"))()
    assert budget.balance == 3
    await retry(budget=budget)(script("done"))()
    assert budget.balance == 3


async def test_without_money_the_error_comes_out_at_once(script: Any) -> None:
    budget = RetryBudget(capacity=2)
    failed: list[FailedAttempt] = []
    errors = [KeyError(1), KeyError(2), KeyError(3)]
    with pytest.raises(KeyError) as info:
        await retry(budget=budget, on_failure=failed.append)(script(*errors))()
    assert info.value is errors[2]
    assert [each.gave_up for each in failed] == [None, None, "budget"]
    assert budget.balance == 0


async def test_a_first_attempt_is_free_and_never_waits(script: Any) -> None:
    budget = RetryBudget(ratio=0.25, capacity=0)
    func = script("done")
    assert await retry(budget=budget)(func)() == "done"
    assert func.called_at == [0]


async def test_ten_deposits_of_a_tenth_pay_for_a_retry(script: Any) -> None:
    budget = RetryBudget(ratio=0.1, capacity=1)
    call = retry(budget=budget)
    assert await call(script(KeyError(), "done"))() == "done"
    for _ in range(9):
        await call(script("done"))()
    assert budget.balance < 1  # 0.1 added up ten times
    assert await call(script(KeyError(), "done"))() == "done"
    assert budget.balance == pytest.approx(0.1)


async def test_a_bit_less_than_one_does_not_pay_for_a_retry(script: Any) -> None:
    budget = RetryBudget(ratio=0, capacity=0.999999)
    with pytest.raises(KeyError):
        await retry(budget=budget)(script(KeyError(), "done"))()


async def test_nothing_is_withdrawn_for_a_retry_that_another_option_forbids(script: Any) -> None:
    budget = RetryBudget()
    forbid: list[dict[str, Any]] = [{"attempts": 1}, {"retry_if": lambda exc: False}, {"timeout": 1, "delay": 1}]
    for options in forbid:
        with pytest.raises(KeyError):
            await retry(budget=budget, **options)(script(KeyError()))()
    assert budget.balance == 10


async def test_a_retry_cancelled_in_its_sleep_gets_nothing_back(script: Any) -> None:
    budget = RetryBudget()
    task = asyncio.create_task(retry(budget=budget, delay=1)(script(KeyError()))())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert budget.balance == 9


@pytest.mark.parametrize("options", [{}, {"timeout": 10}, {"on_failure": print}])
async def test_only_a_success_deposits(script: Any, options: dict[str, Any]) -> None:
    budget = RetryBudget(ratio=0.5, capacity=4)
    call = retry(budget=budget, attempts=2, **options)
    with pytest.raises(KeyError):
        await call(script(KeyError(), KeyError()))()
    assert budget.balance == 3
    with pytest.raises(asyncio.CancelledError):
        await call(script(asyncio.CancelledError()))()
    assert budget.balance == 3
    await call(script("done"))()
    assert budget.balance == 3.5


async def test_an_attempt_cut_by_the_deadline_is_no_success() -> None:
    budget = RetryBudget(ratio=0.5, capacity=4)
    budget.withdraw()

    @retry(budget=budget, timeout=1)
    async def func() -> None:
        await asyncio.sleep(2)

    with pytest.raises(TimeoutError):
        await func()
    assert budget.balance == 3


async def test_many_functions_share_one(script: Any) -> None:
    budget = RetryBudget(capacity=2)
    for _ in range(2):
        await retry(budget=budget, attempts=2)(script(KeyError(), "done"))()
    with pytest.raises(KeyError):
        await retry(budget=budget, attempts=2)(script(KeyError(), "done"))()


async def test_an_outage_does_not_become_a_storm() -> None:
    requests = 0

    @retry(attempts=4, budget=RetryBudget(ratio=0.1, capacity=10), log_exception_info=False)
    async def call(up: bool) -> None:
        nonlocal requests
        requests += 1
        if not up:
            raise ConnectionError

    await asyncio.gather(*(call(up=False) for _ in range(1000)), return_exceptions=True)
    assert requests == 1010


@pytest.mark.real_time
def test_it_keeps_count_in_many_threads() -> None:
    threads, rounds = 8, 2000
    total = threads * rounds
    budget = RetryBudget(ratio=1, capacity=3 * total)
    for _ in range(3 * total):
        budget.withdraw()
    start = threading.Barrier(threads)

    def work() -> None:
        start.wait()
        for _ in range(rounds):
            budget.deposit()
            budget.deposit()
            assert budget.withdraw()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert budget.balance == total


def test_its_repr_shows_its_state() -> None:
    assert repr(RetryBudget(ratio=0.25, capacity=4)) == "RetryBudget(ratio=0.25, capacity=4, balance=4)"
