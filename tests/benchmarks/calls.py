"""What one call costs: the path that every request takes, and the one that it takes when something is wrong."""

import asyncio
import logging
from typing import Any

from benchmarks import limiters, measure, retriers


async def nothing() -> int:
    return 1


def retry_success(rounds: int) -> dict[str, list[float]]:
    calls = {name: make(nothing) for name, make in retriers.checked().items()}
    with asyncio.Runner() as runner:
        return measure.per_call({"bare await": nothing, **calls}, rounds, runner=runner)


def retry_failure(rounds: int) -> dict[str, list[float]]:
    calls = {name: make(retriers.Flaky(1).function()) for name, make in retriers.checked().items()}
    logging.disable(logging.CRITICAL)
    try:
        with asyncio.Runner() as runner:
            return measure.per_call(calls, rounds, runner=runner)
    finally:
        logging.disable(logging.NOTSET)


def limit_free(rounds: int) -> dict[str, list[float]]:
    makers = limiters.checked(limiters.REFUSING, limiters.check_refusing)
    makers |= measure.available({"aiolimiter (a rate)": lambda: limiters.aiolimiter})
    calls = measure.available({name: lambda make=make: make(nothing, 10) for name, make in makers.items()})
    with asyncio.Runner() as runner:
        return measure.per_call({"bare await": nothing, **calls}, rounds, runner=runner)


def limit_rejected(rounds: int) -> dict[str, list[float]]:
    makers = limiters.checked(limiters.REFUSING, limiters.check_refusing)

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def take(limited: measure.Call) -> asyncio.Task[Any]:
        holder = asyncio.ensure_future(limited())
        await asyncio.sleep(0)
        return holder

    calls = {name: make(forever, 1) for name, make in makers.items()}
    with asyncio.Runner() as runner:
        holders = [runner.run(take(limited)) for limited in calls.values()]
        times = measure.per_call(calls, rounds, runner=runner, allowed=Exception)
        if any(holder.done() for holder in holders):
            raise AssertionError("a slot became free meanwhile")
    return times


def run(quick: bool) -> dict[str, Any]:
    rounds = 40 if quick else 400
    success, failure = retry_success(rounds), retry_failure(rounds)
    free, rejected = limit_free(rounds), limit_rejected(rounds)
    older = "dike 1.0.1"

    def reference(times: dict[str, list[float]]) -> str:
        return older if older in times else next(iter(times))

    targets = [
        [what, measure.ratio(times, "dike", older), "<=", bound]
        for what, times, bound in (
            ("retry, success, over dike 1.0.1", success, 1.0),
            ("retry, one failure, over dike 1.0.1", failure, 1.0),
            ("limit_jobs, free slot, over dike 1.0.1", free, 1.3),
            ("limit_jobs, rejected, over dike 1.0.1", rejected, 1.5),
        )
        if {"dike", older} <= set(times)
    ]
    return {
        "title": "The cost of a call",
        "about": (
            "Whole processor times of `await f()`, where `f` itself does nothing. The contenders take turns of about a "
            f"millisecond, {rounds} times; the ratios are taken turn by turn, and the spread is their middle half."
        ),
        "tables": [
            measure.table("retry: the first attempt succeeds", success, reference(success)),
            measure.table("retry: one failure, then success; no delay, nothing logged", failure, reference(failure)),
            measure.table("limit_jobs: a free slot", free, reference(free)),
            measure.table("limit_jobs: a call over the limit is refused", rejected, reference(rejected)),
        ],
        "targets": targets,
        "plots": [
            {
                "name": name,
                "caption": caption,
                "x": "ns per call",
                "log": "x",
                "bars": {
                    name: measure.typical(times, name) * 1e9
                    for name in sorted(times, key=lambda name: measure.typical(times, name))
                },
            }
            for name, caption, times in (
                ("retry-success", "retry, the first attempt succeeds: ns per call", success),
                ("limit-free", "limit_jobs, a free slot: ns per call", free),
            )
        ],
    }
