"""Whatever happens in whatever order, the limiter does what a simple model does."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from dike_limit import TooManyCalls, limit_jobs
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from limit.jobs import settle
from virtual_clock import VirtualClockLoop, run

LIMITS = st.one_of(st.integers(0, 5), st.sampled_from([0.5, 1.5, 2.5, 100 * 0.029, math.inf]))
SHARES = st.sampled_from([0.2, 0.5, 0.75, 1.0])
KEYS = st.sampled_from(["a", "b", None])
TIMES = st.sampled_from([0.25, 0.5, 1.0, 1.75])


@dataclass
class Call:
    number: int
    key: str | None
    share: float
    deadline: float
    state: str = "waiting"


@dataclass
class Model:
    """The contract in the simplest words: lists, and walks through all of them."""

    limit: float
    max_waiting_time: float
    max_waiting_calls: float | None
    calls: list[Call] = field(default_factory=list)
    started: list[Call] = field(default_factory=list)

    def of(self, state: str, key: Any = "any") -> list[Call]:
        return [call for call in self.calls if call.state == state and key in ("any", call.key)]

    def fits(self, call: Call) -> bool:
        return len(self.of("running", call.key)) + 1 <= self.limit * call.share + 1e-9

    def run(self, call: Call) -> None:
        call.state = "running"
        self.started.append(call)

    def start(self, call: Call) -> None:
        room = self.max_waiting_calls
        if room is None:
            room = self.limit if math.isinf(self.limit) else math.ceil(self.limit - 1e-9)
        may_wait = self.max_waiting_time and self.limit + 1e-9 >= 1
        waiting = len(self.of("waiting", call.key))
        self.calls.append(call)
        if call.key is None or self.fits(call):
            self.run(call)
        elif not may_wait or waiting + 1 > room:
            call.state = "refused"

    def hand_over(self) -> None:
        for call in self.of("waiting"):
            if self.fits(call):
                self.run(call)

    def leave(self, call: Call) -> None:
        call.state = "gone"
        self.hand_over()

    def pass_time(self, now: float) -> None:
        for call in self.of("waiting"):
            if call.deadline <= now:
                call.state = "refused"


class LimiterAndModel(RuleBasedStateMachine):
    @initialize(
        limit=LIMITS,
        max_waiting_time=st.sampled_from([0.0, 1.0, 1.0, math.inf]),
        max_waiting_calls=st.sampled_from([None, None, 0, 1, 2.5, math.inf]),
        has_keys=st.booleans(),
        has_shares=st.booleans(),
    )
    def begin(
        self,
        limit: float,
        max_waiting_time: float,
        max_waiting_calls: float | None,
        has_keys: bool,
        has_shares: bool,
    ) -> None:
        self.loop = VirtualClockLoop()
        self.model = Model(limit, max_waiting_time, max_waiting_calls)
        self.has_keys, self.has_shares = has_keys, has_shares
        self.limiter = limit_jobs(
            limit=limit,
            max_waiting_time=max_waiting_time,
            max_waiting_calls=max_waiting_calls,
            **({"key": lambda number, key, share: key} if has_keys else {}),
            **({"share": lambda number, key, share: share} if has_shares else {}),
        )
        self.started: list[int] = []
        self.gates: dict[int, asyncio.Future[None]] = {}
        self.tasks: list[asyncio.Task[None]] = []

        @self.limiter
        async def coroutine(number: int, key: str | None, share: float) -> None:
            await self.body(number)

        @self.limiter
        async def stream(number: int, key: str | None, share: float) -> Any:
            await self.body(number)
            yield number

        async def consume(*args: Any) -> None:
            async for _ in stream(*args):
                pass

        async def stretch(*args: Any) -> None:
            async with self.limiter.slot(*args):
                await self.body(args[0])

        self.kinds = {"coroutine": coroutine, "stream": consume, "slot": stretch}

    async def body(self, number: int) -> None:
        self.started.append(number)
        self.gates[number] = self.loop.create_future()
        await self.gates[number]

    def settle(self) -> None:
        self.loop.run_until_complete(settle())

    def alive(self) -> list[Call]:
        return self.model.of("running") + self.model.of("waiting")

    @rule(key=KEYS, share=SHARES, kind=st.sampled_from(["coroutine", "coroutine", "stream", "slot"]))
    def start(self, key: str | None, share: float, kind: str) -> None:
        number = len(self.tasks)
        key = key if self.has_keys else "one"
        share = share if self.has_shares else 1.0
        self.model.start(Call(number, key, share, self.loop.time() + self.model.max_waiting_time))
        self.tasks.append(self.loop.create_task(self.kinds[kind](number, key, share)))
        self.settle()

    @precondition(lambda self: self.model.of("running"))
    @rule(data=st.data(), error=st.sampled_from([None, ValueError()]))
    def end(self, data: st.DataObject, error: Exception | None) -> None:
        call = data.draw(st.sampled_from(self.model.of("running")))
        if error:
            self.gates[call.number].set_exception(error)
        else:
            self.gates[call.number].set_result(None)
        self.settle()
        self.model.leave(call)

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.alive()))
        self.tasks[call.number].cancel()
        self.settle()
        self.model.leave(call)

    @rule(limit=LIMITS)
    def change_limit(self, limit: float) -> None:
        async def change() -> None:
            self.limiter.limit = limit

        self.loop.run_until_complete(change())
        self.settle()
        self.model.limit = limit
        self.model.hand_over()

    @rule(seconds=TIMES)
    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.settle()
        self.model.pass_time(self.loop.time())

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        for key in ("a", "b", None, "one"):
            started = [number for number in self.started if self.model.calls[number].key == key]
            assert started == [call.number for call in self.model.started if call.key == key]
        for call in self.model.calls:
            task = self.tasks[call.number]
            assert task.done() == (call.state in ("refused", "gone"))
            if call.state == "refused":
                assert isinstance(task.exception(), TooManyCalls)
        counted = [call for call in self.model.calls if call.key is not None]
        assert self.limiter.in_flight == sum(call.state == "running" for call in counted)
        assert self.limiter.waiting == sum(call.state == "waiting" for call in counted)
        assert self.limiter.admitted == sum(call.key is not None for call in self.model.started)
        assert self.limiter.rejected == sum(call.state == "refused" for call in counted)
        kept = {key for here in self.limiter._rules.loops.values() for key in here._by_key}
        assert kept == ({call.key for call in self.alive()} - {None} if self.has_keys else set())

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for task in self.tasks:
            task.cancel()
        self.settle()
        for task in self.tasks:
            assert task.done()
            task.cancelled() or task.exception()
        assert (self.limiter.in_flight, self.limiter.waiting) == (0, 0)
        assert all(handle.cancelled() for handle in self.loop._scheduled)  # type: ignore[attr-defined]
        self.loop.close()


LimiterAndModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLimiterAndModel = LimiterAndModel.TestCase


STEPS = st.lists(
    st.tuples(st.sampled_from(["start", "start", "end", "cancel", "limit", "step", "step"]), st.integers(0, 30)),
    min_size=20,
    max_size=60,
)


@pytest.mark.parametrize("way", [{}, {"key": lambda *args: "key"}, {"share": lambda *args: 1.0}])
@given(steps=STEPS)
@settings(max_examples=100, deadline=None)
def test_between_any_two_steps_of_the_event_loop_no_slot_is_lost_or_given_out_twice(
    way: Any, steps: list[tuple[str, int]]
) -> None:
    """Unlike above, things happen in the middle of others: at each point where a task may be cancelled."""

    async def main() -> None:
        limit = 2
        limiter = limit_jobs(limit=limit, max_waiting_time=math.inf, max_waiting_calls=math.inf, **way)
        running: set[int] = set()
        waited: list[int] = []
        gates: dict[int, asyncio.Future[None]] = {}
        tasks: list[asyncio.Task[None]] = []
        step = 0

        async def call(number: int) -> None:
            await job(number, step)

        async def one_step() -> None:
            nonlocal step
            step += 1
            await asyncio.sleep(0)

        @limiter
        async def job(number: int, called_in: int) -> None:
            running.add(number)
            if step > called_in:
                waited.append(number)
            gates[number] = asyncio.get_running_loop().create_future()
            try:
                await gates[number]
            finally:
                running.remove(number)

        before = 0
        for what, number in steps:
            if what == "start":
                tasks.append(asyncio.create_task(call(len(tasks))))
            elif what == "end" and gates:
                gate = gates[sorted(gates)[number % len(gates)]]
                if not gate.done():
                    gate.set_result(None)
            elif what == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            elif what == "limit":
                limiter.limit = limit = 1 + number % 4
            else:
                await one_step()
            # What runs when the limit is lowered goes on, but nothing is added to it.
            assert len(running) <= limiter.in_flight <= max(limit, before)
            before = limiter.in_flight
        for _ in range(4):
            await one_step()
        while unfinished := sum(not task.done() for task in tasks):
            assert limiter.in_flight == len(running) >= min(limit, unfinished)
            assert limiter.waiting == unfinished - len(running)
            for number in running:
                if not gates[number].done():
                    gates[number].set_result(None)
            for _ in range(4):
                await one_step()
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        assert waited == sorted(waited)
        assert all(task.cancelled() or task.exception() is None for task in tasks)

    run(main())
