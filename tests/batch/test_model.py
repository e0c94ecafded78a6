"""Hundreds of random callers under random options, checked against what must always hold."""

import asyncio
import itertools
import random
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import virtual_clock
from batch.backend import settle
from dike_batch import ArgumentType, batch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INF = float("inf")


class Box:
    """A container that only its `ArgumentType` knows."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids


class Boxes(ArgumentType):
    def rows(self, value: Any) -> int:
        return len(value.ids)

    def join(self, values: list[Any]) -> Any:
        return Box([row for value in values for row in value.ids])

    def slice(self, value: Any, start: int, stop: int) -> Any:
        return Box(value.ids[start:stop])


class Container:
    """Makes arguments of row numbers, and row numbers of results."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.option: Any = Boxes() if name == "boxes" else name

    def make(self, ids: list[int], kind: int) -> Any:
        if self.name == "boxes":
            return Box(ids)
        if self.name == "numpy":
            array = np.array(ids, "if"[kind % 2])
            return array if kind < 2 else np.stack([array, array], axis=1)
        return ids if self.name == "list" else ids[0]

    def ids(self, value: Any) -> list[int]:
        if self.name == "boxes":
            return list(value.ids)
        if self.name == "numpy":
            return [int(row) for row in (value if value.ndim == 1 else value[:, 0])]
        return list(value) if self.name == "list" else [value]


class Options(NamedTuple):
    container: str
    target: float
    max_wait: float
    max_processing: float | None
    max_rows: float
    max_running: float
    when_idle: bool


options_ = st.builds(
    lambda *values: Options(*values[:4], max(values[4], values[1]) if values[1] < INF else values[4], *values[5:]),
    st.sampled_from(["list", "numpy", "item", "boxes"]),
    st.sampled_from([1, 3, 8, INF]),
    st.sampled_from([0.5, 2.0, INF]),
    st.sampled_from([None, 1.5]),
    st.sampled_from([2, 5, 12, INF]),
    st.sampled_from([1, 2, INF]),
    st.booleans(),
)


class Failure(Exception):  # noqa: N818
    pass


class Sent(NamedTuple):
    """A batch that was sent."""

    at: float
    instance: "Service"
    group: int
    ids: list[int]
    running_before: int


class Call:
    """A call, and what came of it."""

    numbers = itertools.count()

    def __init__(self, rng: random.Random, container: str) -> None:
        self.arrival = rng.choice([0.0, 1.0, rng.uniform(0, 8)])
        size = 1 if container == "item" else rng.choice([1, 1, 1, 2, 3, 5, 14])
        self.ids = [next(self.numbers) % 2**20 for _ in range(size)]
        self.kind = rng.randrange(4)
        self.group = rng.randrange(3)
        self.cancel_after = rng.choice([None, None, 0.0, rng.uniform(0, 3)])
        self.cancelled_at = INF
        self.outcome: Any = None


class Service:
    """The instance of a batched method."""


class Model:
    """Runs random calls, and remembers all that can be seen."""

    def __init__(self, options: Options, seed: int) -> None:
        self.options = options
        self.rng = rng = random.Random(seed)
        self.container = container = Container(options.container)
        self.calls = [Call(rng, options.container) for _ in range(rng.choice([3, 20, 150]))]
        self.harmless = rng.random() < 0.3
        self.sent: list[Sent] = []
        self.failed: dict[int, set[type[BaseException]]] = {}
        self.running: Counter[Service] = Counter()
        self.history: dict[Service, list[tuple[float, int]]] = {}
        model = self

        class Batched(Service):
            @batch(
                target_batch_size=options.target,
                max_waiting_time=options.max_wait,
                max_processing_time=options.max_processing,
                argument_type=container.option,
                max_batch_size=None if options.max_rows == INF else int(options.max_rows),
                max_concurrent_batches=None if options.max_running == INF else int(options.max_running),
                dispatch_when_idle=options.when_idle,
                group_by=("group",),
            )
            async def method(self, rows: Any, group: int) -> Any:
                ids = rows if options.container == "item" else container.ids(rows)
                return await model.run(self, rows, list(ids), group)

        self.services = [Batched() for _ in range(2)]
        self.method: Any = Batched.method

    async def run(self, service: Service, rows: Any, ids: list[int], group: int) -> Any:
        """Do what the function does."""
        now = asyncio.get_running_loop().time()
        self.sent.append(Sent(now, service, group, ids, self.running[service]))
        self.count(service, 1)
        try:
            return await self.behave(rows, ids)
        finally:
            self.count(service, -1)

    def count(self, service: Service, change: int) -> None:
        self.running[service] += change
        self.history.setdefault(service, []).append((asyncio.get_running_loop().time(), self.running[service]))

    def least_running(self, service: Service, start: float, stop: float) -> float:
        """Return the least number of batches that ran at once between two moments."""
        least = INF
        for (begin, running), (end, _) in itertools.pairwise([(0.0, 0), *self.history[service], (INF, 0)]):
            if min(end, stop) - max(begin, start) > 1e-6:
                least = min(least, running)
        return least

    async def behave(self, rows: Any, ids: list[int]) -> Any:
        rng = self.rng
        behaviour = (
            "return" if self.harmless else rng.choice(["return"] * 6 + ["fail", "cancel", "hang", "resist", "rows"])
        )
        await asyncio.sleep(rng.choice([0, 0, 0.25, rng.uniform(0, 1)]))
        error: type[BaseException] | None = None
        if behaviour == "fail":
            error = Failure
        elif behaviour == "cancel":
            error = RuntimeError
        elif behaviour == "rows":
            error = ValueError
        elif behaviour in ("hang", "resist"):
            error = TimeoutError
        if error is not None:
            for number in ids:
                self.failed.setdefault(number, set()).add(error)
        if behaviour == "fail":
            raise Failure
        if behaviour == "cancel":
            raise asyncio.CancelledError
        if behaviour == "rows":
            return [0] * (len(ids) + 1) if self.options.container != "boxes" else Box([0] * (len(ids) + 1))
        if behaviour == "hang":
            await asyncio.sleep(10)
            raise TimeoutError
        if behaviour == "resist":
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                await asyncio.sleep(self.rng.uniform(0, 3))
            raise TimeoutError
        return rows

    async def caller(self, call: Call, service: Any) -> None:
        """Make a call, and check what comes of it."""
        await asyncio.sleep(call.arrival)
        argument = self.container.make(call.ids, call.kind)
        try:
            result = await service.method(argument, call.group)
        except BaseException as error:
            call.outcome = error
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            call.outcome = self.container.ids(result)

    async def main(self) -> None:
        """Let all calls run, and flush what waits without a deadline."""
        loop = asyncio.get_running_loop()
        tasks = []
        for call in self.calls:
            task = loop.create_task(self.caller(call, self.rng.choice(self.services)))
            tasks.append(task)
            if call.cancel_after is not None:
                loop.call_at(call.arrival + call.cancel_after, self.cancel, call, task)
        await asyncio.sleep(9)
        while pending := [task for task in tasks if not task.done()]:
            await self.method.flush()
            await asyncio.wait(pending, timeout=1)
            assert loop.time() < 3000, "somebody hangs"
        while self.method.batch_info().running_batches or loop.time() < 12:
            await asyncio.sleep(1)
        await settle()
        self.check_nothing_is_left()
        self.harmless = True
        for service in self.services:
            last = Call(self.rng, self.options.container)
            last.arrival = 0.0
            task = loop.create_task(self.caller(last, service))
            await settle()
            await self.method.flush()
            await task
            assert last.outcome == last.ids

    def cancel(self, call: Call, task: asyncio.Task[None]) -> None:
        if task.cancel():
            call.cancelled_at = asyncio.get_running_loop().time()

    def check_nothing_is_left(self) -> None:
        loop: Any = asyncio.get_running_loop()
        info = self.method.batch_info()
        accepted = [call for call in self.calls if not (call.cancel_after == 0.0 and call.outcome is None)]
        assert info.waiting_rows == info.running_batches == 0
        assert info.calls == len(accepted)
        assert info.rows == sum(len(call.ids) for call in accepted)
        assert info.batches >= len(self.sent)
        assert info.cancelled == sum(isinstance(call.outcome, asyncio.CancelledError) for call in accepted)
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        shell = self.method.__closure__[self.method.__code__.co_freevars.index("submit")].cell_contents
        assert not any(state.dispatchers for state in shell.__self__._states.values())

    def check_calls(self) -> None:
        """Every caller has its own rows, or an exception that it had to expect."""
        batches = Counter(number for sent in self.sent for number in sent.ids)
        assert not batches or max(batches.values()) == 1
        for call in self.calls:
            if isinstance(call.outcome, list):
                assert call.outcome == call.ids
                assert all(batches[number] == 1 for number in call.ids)
                assert not any(number in self.failed for number in call.ids)
            elif call.cancelled_at == INF:
                expected = set().union(*(self.failed.get(number, set()) for number in call.ids))
                if self.options.max_processing is not None:
                    expected.add(TimeoutError)
                assert type(call.outcome) in expected

    def check_batches(self) -> None:
        """No batch breaks a cap, a group, the order or the concurrency, and none leaves without a reason."""
        calls = {number: call for call in self.calls for number in call.ids}
        last: dict[Any, float] = {}
        for sent in self.sent:
            if not all(number in calls for number in sent.ids):
                continue  # the calls that came after all others
            assert sent.running_before < self.options.max_running
            assert len(sent.ids) <= self.options.max_rows
            own = [calls[number] for number in sent.ids]
            assert {call.group for call in own} == {sent.group}
            assert all(call.cancelled_at >= sent.at for call in own)
            if self.options.container == "numpy":
                assert len({call.kind for call in own}) == 1
            queue = (sent.instance, sent.group, own[0].kind if self.options.container == "numpy" else None)
            arrivals = [call.arrival for call in own]
            assert arrivals == sorted(arrivals)
            assert last.get(queue, 0) <= arrivals[0]
            last[queue] = arrivals[-1]
            deadline = arrivals[0] + self.options.max_wait
            # Nobody waits longer than that while there is room, nor at all while nothing runs, if that is wished.
            assert self.least_running(sent.instance, deadline, sent.at) >= self.options.max_running
            if self.options.when_idle:
                assert self.least_running(sent.instance, arrivals[0], sent.at) > 0
            elif self.options.max_rows == INF and sent.at < 9:
                assert len(sent.ids) >= self.options.target or sent.at >= deadline - 1e-9


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(options=options_, seed=st.integers(0, 2**32))
def test_whatever_happens_each_caller_gets_its_own_rows_and_nothing_is_left(options: Options, seed: int) -> None:
    model = Model(options, seed)
    virtual_clock.run(model.main())
    model.check_calls()
    model.check_batches()
