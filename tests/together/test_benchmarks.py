"""The benchmarks run where no peer is installed, and the limits that dike is compared with do their job."""

import asyncio
from typing import Any

import pytest
import virtual_clock
from benchmarks import batchers, limiters, measure, memory, policy, report, retriers


def test_the_ideal_policy_starts_a_batch_whenever_the_server_is_free() -> None:
    alone, together = policy.service_time(1), policy.service_time(2)
    assert policy.ideal([0.0, 0.001, 0.002]) == pytest.approx(
        [alone, alone - 0.001 + together, alone - 0.002 + together]
    )


def test_the_ideal_policy_keeps_to_the_largest_batch() -> None:
    latencies = policy.ideal([0.0] * (policy.MOST + 1))
    assert latencies[-1] == pytest.approx(policy.service_time(policy.MOST) + policy.service_time(1))


@pytest.mark.parametrize("load", policy.LOADS)
def test_the_99th_percentile_of_dike_stays_within_5_percent_of_the_ideal(load: float) -> None:
    times = policy.arrivals(load, 1_000, seed=1)
    latencies = virtual_clock.run(policy.latencies(policy.dike, times))
    assert policy.percentile(latencies, 0.99) <= 1.05 * policy.percentile(policy.ideal(times), 0.99)


async def test_the_hand_written_contenders_and_dike_do_the_job() -> None:
    for retrier in (retriers.hand_written, retriers.dike):
        await retriers.check(retrier)
    for refusing in (limiters.hand_written, limiters.semaphore, limiters.dike):
        await limiters.check_refusing(refusing)
    for waiting in (limiters.hand_written_queue, limiters.semaphore_queue, limiters.dike_queue):
        await limiters.check_waiting(waiting)
    for batching in (batchers.hand_written(batchers.join_lists, batchers.cut), batchers.dike("list")):
        await batchers.check("lists", batching, [[1], [2], [3], [4]])
    for batching in (batchers.hand_written_items, batchers.dike("item")):
        await batchers.check("items", batching, [1, 2, 3, 4])


async def test_a_contender_that_does_not_do_the_job_is_found_out() -> None:
    def nothing(func: Any, *args: Any) -> Any:
        return func

    with pytest.raises(ConnectionError):
        await retriers.check(nothing)
    with pytest.raises(AssertionError):
        await limiters.check_refusing(nothing)
    with pytest.raises(AssertionError):
        await limiters.check_waiting(nothing)
    with pytest.raises(AssertionError):
        await batchers.check("nothing", nothing, [[1], [2], [3], [4]])


async def test_memory_counts_what_waits() -> None:
    async def holding(block: bytearray) -> None:
        await asyncio.get_running_loop().create_future()

    assert 10_000 < await memory.held(holding, lambda i: (bytearray(10_000),), 10) < 20_000


def test_ratios_are_taken_round_by_round_and_tables_list_the_quickest_first() -> None:
    # The second round was slow for both.
    times = {"other": [2.0, 20.0, 2.0], "dike": [1.0, 10.0, 1.0]}
    assert measure.ratios(times, "dike", "other") == [0.5, 0.5, 0.5]
    assert [row[0] for row in measure.table("", times, "other")["rows"]] == ["dike", "other"]


def test_the_report_shows_each_table_and_says_what_was_missed() -> None:
    results = {
        "quick": True,
        "seconds": {"some": 30},
        "machine": {"date": "2026-01-01", "python": "", "platform": "", "processor": "", "cpus": 2, "peers": {}},
        "sections": {
            "some": {
                "title": "Some",
                "about": "About it.",
                "tables": [
                    {"caption": "A table", "columns": ["contender", "ratio"], "rows": [["dike", 1.5], ["a", None]]}
                ],
                "targets": [["this", 1.5, "<=", 1], ["that", 1.5, ">=", 1]],
            }
        },
    }
    page = report.page(results)
    assert "## Some\n\nAbout it.\n\n**A table**\n\n| contender | ratio |\n| :-- | --: |\n| **dike** | 1.50 |" in page
    assert "| this | 1.50 | ≤\u00a01 | **no** |\n| that | 1.50 | ≥\u00a01 | yes |" in page
