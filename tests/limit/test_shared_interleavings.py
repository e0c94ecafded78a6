"""What SharedLimit promises whatever comes in whichever order, on virtual time, before a model of the server."""

import asyncio
import gc
import itertools
import math
from typing import Any, NamedTuple

import pytest
import redis
import virtual_clock
from dike_limit import SharedLimit, TooManyCalls, limit_jobs
from dike_limit._shared_keys import sorted_set
from dike_limit._shared_script import SCRIPT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limit.shared_model import ModelServer, run_script
from limit.shared_server import Server

# On a busy machine an example may take long.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LIMIT = 3
LEASE = 2.0
KEY = sorted_set("name")

# A call may have to wait for two exchanges: that which is under way, and its own.
punctual = st.tuples(st.sampled_from([0.0, 0.01, 0.05]), st.sampled_from([0.0, 0.01, 0.05]))
anything = st.tuples(
    st.sampled_from([0.0, 0.1, 0.3, 1.5, math.inf, -1.0]), st.sampled_from([0.0, 0.1, 0.3, math.inf, -1.0])
)


class Plan(NamedTuple):
    """What one call does: when it comes, through which limiter, how long it runs, when it is cancelled, and again."""

    start: float
    limiter: int
    runs: float
    cancelled: float | None
    again: float | None


plans = st.lists(
    st.builds(
        Plan,
        start=st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.1, 0.5, 1.0, 3.0]),
        limiter=st.integers(0, 1),
        runs=st.sampled_from([0.0, 0.05, 0.3, 1.0, 3.0]),
        cancelled=st.none() | st.sampled_from([0.0, 0.01, 0.1, 0.11, 0.2, 0.25, 0.3, 1.0]),
        again=st.none() | st.sampled_from([0.0, 0.05, 0.1, 0.2]),
    ),
    min_size=1,
    max_size=12,
)


class World:
    """Two processes, as it were, before one server; what has been seen of them."""

    def __init__(self, behaviour: list[tuple[float, float]], max_waiting_time: float, mode: Any = "local") -> None:
        self.server = ModelServer(behaviour)
        self.limits = [
            SharedLimit(LIMIT, redis=self.server, name="name", lease=LEASE, when_unreachable=mode) for _ in range(2)
        ]
        self.limiters = [
            limit_jobs(limit=limit, max_waiting_time=max_waiting_time, max_waiting_calls=100) for limit in self.limits
        ]
        self.running = [0, 0]
        self.most = [0, 0]
        self.most_together = 0
        self.entering: list[float] = []
        self.leaving: list[float] = []

    async def call(self, plan: Plan) -> None:
        time = asyncio.get_running_loop().time
        await asyncio.sleep(plan.start)
        task = asyncio.create_task(self.work(plan))
        for delay in (plan.cancelled, plan.again):
            if delay is not None:
                await asyncio.wait({task}, timeout=delay)
                cancelled = time()
                if task.cancel():
                    # So much later than this it has ended.
                    task.add_done_callback(lambda _, since=cancelled: self.leaving.append(time() - since))
        await asyncio.wait({task})

    async def work(self, plan: Plan) -> None:
        time = asyncio.get_running_loop().time
        start = time()
        try:
            async with self.limiters[plan.limiter].slot():
                self.entering.append(time() - start)
                self.running[plan.limiter] += 1
                self.most[plan.limiter] = max(self.most[plan.limiter], self.running[plan.limiter])
                self.most_together = max(self.most_together, sum(self.running))
                try:
                    await asyncio.sleep(plan.runs)
                finally:
                    self.running[plan.limiter] -= 1
                    start = time()
            self.leaving.append(time() - start)
        except TooManyCalls:
            self.entering.append(time() - start)

    async def nothing_is_left(self) -> None:
        for limiter, limit in zip(self.limiters, self.limits, strict=True):
            assert (limiter.in_flight, limiter.waiting) == (0, 0)
            assert not limit.on_loop().lines
        assert asyncio.all_tasks() == {asyncio.current_task()}


@patient
@given(plans, st.lists(punctual, max_size=20), st.sampled_from([0.0, 0.3, math.inf]))
def test_a_server_that_answers_is_told_of_every_call_that_ends_however_it_does(
    plans: list[Plan], behaviour: list[tuple[float, float]], max_waiting_time: float
) -> None:
    async def main() -> None:
        world = World(behaviour, max_waiting_time)
        await asyncio.gather(*map(world.call, plans))
        # A call cancelled twice does not wait for it.
        await asyncio.sleep(0.5)
        assert world.server.members(KEY) == set()
        assert world.most_together <= LIMIT
        assert sum(limit.lost_leases for limit in world.limits) == 0
        await world.nothing_is_left()

    virtual_clock.run(main())


@patient
@given(plans, st.lists(anything, max_size=20), st.sampled_from(["local", "open", "closed"]))
def test_no_call_waits_for_a_server_longer_than_promised(
    plans: list[Plan], behaviour: list[tuple[float, float]], mode: str
) -> None:
    async def main() -> None:
        world = World(behaviour, 0.0, mode)
        await asyncio.gather(*map(world.call, plans))
        assert max(world.entering + world.leaving, default=0) <= 0.25 + 1e-9

    virtual_clock.run(main())


@patient
@given(plans, st.lists(anything, max_size=20), st.sampled_from([0.0, 0.3, math.inf]))
def test_no_process_alone_exceeds_the_limit_whatever_the_server_does(
    plans: list[Plan], behaviour: list[tuple[float, float]], max_waiting_time: float
) -> None:
    async def main() -> None:
        world = World(behaviour, max_waiting_time)
        await asyncio.gather(*map(world.call, plans))
        assert max(world.most) <= LIMIT
        if max_waiting_time == math.inf:
            uncancelled = sum(plan.cancelled is None and plan.again is None for plan in plans)
            assert sum(limiter.admitted for limiter in world.limiters) >= min(uncancelled, LIMIT)

    virtual_clock.run(main())


@patient
@given(
    plans,
    st.lists(anything, max_size=20),
    st.sampled_from([0.0, 0.3, math.inf]),
    st.sampled_from(["local", "open", "closed"]),
)
def test_nothing_is_left_after_any_trouble_with_the_server(
    plans: list[Plan], behaviour: list[tuple[float, float]], max_waiting_time: float, mode: str
) -> None:
    async def main() -> None:
        world = World(behaviour, max_waiting_time, mode)
        await asyncio.gather(*map(world.call, plans))
        # The last commands may be on their way for 1.5 s, and what they leave ends within a lease.
        await asyncio.sleep(1.5 + LEASE + 1)
        assert world.server.members(KEY) == set()
        world.server.behaviour.clear()
        await asyncio.sleep(LEASE + 1)
        await world.nothing_is_left()

    virtual_clock.run(main())


@patient
@given(st.lists(st.sampled_from([0.0, 0.05, 0.3, 1.0]), max_size=20))
def test_after_a_try_that_failed_there_is_at_most_one_a_second_for_all_keys(pauses: list[float]) -> None:
    async def main() -> None:
        server = ModelServer([(-1, 0)] * 100)
        limiter = limit_jobs(limit=SharedLimit(LIMIT, redis=server, name="name"), key=lambda key: key)
        for pause in pauses:
            async with limiter.slot("a"), limiter.slot("b"), limiter.slot("c"):
                await asyncio.sleep(pause)
        assert all(later - earlier > 1 - 1e-9 for earlier, later in itertools.pairwise(server.tries))

    virtual_clock.run(main())


def test_a_loop_that_comes_late_gets_its_part_of_the_slots() -> None:
    async def main() -> None:
        world = World([], math.inf)
        done = [0, 0]

        async def work(process: int) -> None:
            while asyncio.get_running_loop().time() < 20:
                await world.work(Plan(0, process, 0.1, None, None))
                done[process] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(work(0))
            # Not when a job ends, since all jobs of the first loop end together.
            await asyncio.sleep(1.037)
            for _ in range(6):
                group.create_task(work(1))
        assert world.most_together == LIMIT
        # Of 600 jobs that could be done: most are, and both loops do many of them.
        assert sum(done) > 500
        assert min(done) > 100

    virtual_clock.run(main())


async def test_a_newcomer_does_not_pass_one_who_waits_for_another_loop() -> None:
    server = ModelServer()
    one, other = (
        limit_jobs(limit=SharedLimit(1, redis=server, name="name"), max_waiting_time=60, max_waiting_calls=9)
        for _ in range(2)
    )
    order = []

    @other
    async def call(number: int) -> None:
        order.append(number)

    async with one.slot():
        calls = [asyncio.create_task(call(0))]
        await asyncio.sleep(0.5)
    tries = len(server.tries)
    calls.append(asyncio.create_task(call(1)))
    # Time stands still meanwhile, so the other does not ask again.
    for _ in range(30):
        await asyncio.sleep(0)
    # It has not even asked: there is somebody before it.
    assert len(server.tries) == tries
    await asyncio.wait(calls)
    assert order == [0, 1]


async def test_a_lease_given_back_twice_since_the_answer_was_lost_counts_as_none_that_was_lost() -> None:
    server = ModelServer([(0, 0), (0, -1)])
    shared = SharedLimit(1, redis=server, name="name")
    async with limit_jobs(limit=shared).slot():
        pass
    await asyncio.sleep(2)
    assert len(server.tries) == 3
    assert shared.lost_leases == 0


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("admitted", [True, False])
async def test_a_call_cancelled_at_any_turn_of_the_loop_leaves_no_lease(first: bool, admitted: bool) -> None:
    loop = asyncio.get_running_loop()
    server = ModelServer()
    limiter, other = (limit_jobs(limit=SharedLimit(1, redis=server, name="name", lease=1e6)) for _ in range(2))

    async def call() -> None:
        async with limiter.slot():
            await asyncio.sleep(0)

    def cancel(turns: int) -> None:
        if turns:
            loop.call_soon(cancel, turns - 1)
        else:
            cancelled.append(task.cancel())

    cancelled: list[bool] = []
    if not admitted:
        await other.slot().__aenter__()
    for turns in range(60):
        # Before or after the task in each turn.
        if first:
            loop.call_soon(cancel, turns)
        task = asyncio.create_task(call())
        if not first:
            loop.call_soon(cancel, turns)
        await asyncio.wait({task})
        assert len(server.members(KEY)) == (not admitted)
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        while len(cancelled) <= turns:
            await asyncio.sleep(0)
    assert cancelled[0]
    assert not cancelled[-1]


def test_a_loop_that_shuts_down_as_its_server_fails_leaves_no_task_behind(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = ModelServer()
        limiter = limit_jobs(limit=SharedLimit(9, redis=server, name="name"))

        async def call() -> None:
            async with limiter.slot():
                await asyncio.sleep(60)

        calls.extend(asyncio.create_task(call()) for _ in range(3))
        await asyncio.sleep(1)
        server.behaviour = [(-1, 0)] * 9

    calls: list[asyncio.Task[None]] = []
    # The order in which a loop cancels its tasks depends on where they are in memory.
    for _ in range(40):
        virtual_clock.run(main())
        calls.clear()
        gc.collect()
    assert {record.name for record in caplog.records} == {"dike"}


async def test_many_keys_at_once_take_few_connections_and_few_tries() -> None:
    server = ModelServer([(0.01, 0.01)] * 100)
    limiter = limit_jobs(limit=SharedLimit(1, redis=server, name="name"), key=lambda key: key)

    async def call(key: int) -> None:
        async with limiter.slot(key):
            pass

    await asyncio.gather(*map(call, range(50)))
    assert server.most_under_way == 16
    server.behaviour = [(-1.0, 0.0)] * 100
    server.tries.clear()
    await asyncio.gather(*map(call, range(50)))
    assert len(server.tries) <= 16


@pytest.mark.parametrize("takes", [0.0, 5.0])
async def test_a_client_that_resists_its_cancellation_makes_no_call_wait(takes: float) -> None:
    class Client(ModelServer):
        async def evalsha(self, *args: Any) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(takes)
                raise ConnectionError("something else") from None

        eval = evalsha

    limiter = limit_jobs(limit=SharedLimit(1, redis=Client(), name="name"))
    start = asyncio.get_running_loop().time()
    async with limiter.slot():
        pass
    assert asyncio.get_running_loop().time() - start <= 0.25 + 1e-9
    # An event loop that shuts down cancels all tasks once, and what resists begins new ones: not that here.
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for other in others:
            other.cancel()
        await asyncio.wait(others)


@pytest.mark.parametrize("cancelled", [1, 2, 3])
def test_a_loop_that_shuts_down_is_held_up_by_nobody_who_waits_for_nothing(
    cancelled: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        # The server gets what is said of the end of the call, but does not answer.
        server = ModelServer([(0, 0), (0, math.inf), (0, math.inf)])
        limiter = limit_jobs(limit=SharedLimit(1, redis=server, name="name"))

        async def call() -> None:
            async with limiter.slot():
                await asyncio.sleep(60)

        task = asyncio.create_task(call())
        await asyncio.sleep(1)
        for _ in range(cancelled):
            task.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
        if cancelled == 3:
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()
            await asyncio.sleep(0)

    virtual_clock.run(main())
    assert {record.name for record in caplog.records} <= {"dike"}


@pytest.mark.real_time
def test_the_model_does_what_the_script_does(server: Server, name: str) -> None:
    ids = st.sampled_from("abcdef")
    exchanges = st.lists(
        st.tuples(
            st.lists(ids, max_size=3, unique=True),
            st.lists(ids, max_size=3, unique=True),
            st.lists(st.tuples(ids, st.integers(0, 5)), max_size=5),
        ),
        max_size=6,
    )
    client = redis.Redis(port=server.port)

    @patient
    @given(exchanges)
    def test(exchanges: list[Any]) -> None:
        client.delete(name)
        members: dict[str, float] = {}
        for leave, stay, ask in exchanges:
            arguments = [60_000, len(leave), len(stay), *leave, *stay, *(part for pair in ask for part in pair)]
            *real, _ = client.eval(SCRIPT, 1, name, *arguments)
            *modelled, _ = run_script(members, 0.0, arguments)
            assert real == modelled
            assert {member.decode() for member in client.zrange(name, 0, -1)} == set(members)

    test()
    client.close()
