"""What SharedLimit promises when its server is killed, stands still, starts anew, or answers with errors."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from dike_limit import SharedLimit, TooManyCalls, limit_jobs
from dike_limit._shared_keys import sorted_set
from limit.shared_server import Server, admits, eventually
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import OutOfMemoryError

pytestmark = pytest.mark.real_time

MODES = pytest.mark.parametrize("mode", ["local", "open", "closed"])
# Of five calls at once with a limit of 3, while the server does not answer.
ADMITTED = {"local": 3, "open": 5, "closed": 0}

# A promise is of 0.25 s. A busy machine may take longer, but it would have to be very busy to take so much.
SOON = 2.0


async def five_at_once(*limiters: Any) -> int:
    """How many of five calls are admitted that take turns at the limiters."""
    async with AsyncExitStack() as stack:
        results = await asyncio.gather(
            *(stack.enter_async_context(limiters[n % len(limiters)].slot()) for n in range(5)), return_exceptions=True
        )
        errors = [result for result in results if result is not None]
        assert {type(error) for error in errors} <= {TooManyCalls}
        return 5 - len(errors)


@pytest.fixture
async def stubborn_client(fragile_server: Server) -> AsyncIterator[Redis]:
    """A client that by itself would try for minutes."""
    retry = Retry(ConstantBackoff(0.5), 100)
    async with Redis(port=fragile_server.port, retry=retry, socket_timeout=60, socket_connect_timeout=60) as client:
        yield client


@MODES
async def test_without_a_server_the_mode_says_who_is_admitted(
    fragile_server: Server, fragile_client: Redis, mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fragile_server.kill()
    shared = SharedLimit(3, redis=fragile_client, name="name", when_unreachable=mode)
    # All limiters with one object count together, with the server or without.
    assert await five_at_once(limit_jobs(limit=shared), limit_jobs(limit=shared)) == ADMITTED[mode]
    assert [(record.name, record.levelname) for record in caplog.records] == [("dike", "WARNING")]


@MODES
@pytest.mark.parametrize("connected", [True, False])
async def test_no_call_waits_for_a_server_that_stands_still(
    fragile_server: Server, stubborn_client: Redis, mode: Any, connected: bool
) -> None:
    limiter = limit_jobs(limit=SharedLimit(3, redis=stubborn_client, name="name", when_unreachable=mode))
    if connected:
        assert await admits(limiter)
    fragile_server.pause()
    start = time.monotonic()
    for _ in range(20):
        # All but the first find out without a try.
        assert await five_at_once(limiter) == ADMITTED[mode]
    assert time.monotonic() - start < SOON


async def test_no_call_waits_to_leave_a_server_that_stands_still(
    fragile_server: Server, stubborn_client: Redis
) -> None:
    limiter = limit_jobs(limit=SharedLimit(3, redis=stubborn_client, name="name"))
    async with limiter.slot():
        fragile_server.pause()
        start = time.monotonic()
    assert time.monotonic() - start < SOON


async def test_who_waits_is_refused_at_once_when_a_closed_limit_loses_its_server(
    fragile_server: Server, fragile_client: Redis
) -> None:
    one, other = (
        limit_jobs(
            limit=SharedLimit(1, redis=fragile_client, name="name", when_unreachable="closed"), max_waiting_time=60
        )
        for _ in range(2)
    )
    async with one.slot():
        waiting = asyncio.create_task(admits(other))
        await eventually(lambda: other.waiting == 1)
        fragile_server.kill()
        late = asyncio.create_task(admits(other))
        assert await asyncio.wait_for(asyncio.gather(waiting, late), SOON) == [False, False]


async def test_who_waits_at_a_local_limit_without_server_gets_the_next_free_slot(
    fragile_server: Server, fragile_client: Redis
) -> None:
    limiter = limit_jobs(limit=SharedLimit(1, redis=fragile_client, name="name"), max_waiting_time=60)
    fragile_server.kill()
    async with limiter.slot():
        waiting = asyncio.create_task(admits(limiter))
        await eventually(lambda: limiter.waiting == 1)
    assert await asyncio.wait_for(waiting, SOON)


async def test_calls_admitted_without_server_get_their_leases_when_it_is_back(
    fragile_server: Server, fragile_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one, other = (SharedLimit(2, redis=fragile_client, name="name", lease=60) for _ in range(2))
    fragile_server.kill()
    limiter = limit_jobs(limit=one)
    async with limiter.slot(), limiter.slot():
        fragile_server.start()
        await eventually(lambda: "again" in caplog.text)
        assert not await admits(limit_jobs(limit=other))
    assert await admits(limit_jobs(limit=other))
    # They had none to lose.
    assert one.lost_leases == 0


async def test_leases_that_went_down_with_the_server_are_put_back(
    fragile_server: Server, fragile_client: Redis
) -> None:
    shared = SharedLimit(2, redis=fragile_client, name="name", lease=0.6)
    async with limit_jobs(limit=shared).slot():
        fragile_server.kill()
        fragile_server.start()
        await eventually(lambda: shared.lost_leases == 1)
        assert await fragile_client.zcard(sorted_set("name")) == 1


async def test_a_call_that_left_while_the_server_stood_still_is_not_counted_when_it_goes_on(
    fragile_server: Server, fragile_client: Redis
) -> None:
    limiter = limit_jobs(limit=SharedLimit(2, redis=fragile_client, name="name", lease=60))
    async with limiter.slot():
        fragile_server.pause()
        # This one's request is on its way: the server reads it when it goes on.
        assert await admits(limiter)
    fragile_server.resume()

    async def nobody_counts() -> bool:
        return await fragile_client.zcard(sorted_set("name")) == 0

    await eventually(nobody_counts)
    # And it stays so.
    await asyncio.sleep(0.2)
    assert await nobody_counts()


@pytest.mark.parametrize("mode", ["local", "closed"])
async def test_a_call_cancelled_while_the_server_stands_still_leaves_no_lease(
    fragile_server: Server, fragile_client: Redis, mode: Any
) -> None:
    limiter = limit_jobs(limit=SharedLimit(2, redis=fragile_client, name="name", lease=60, when_unreachable=mode))
    assert await admits(limit_jobs(limit=SharedLimit(2, redis=fragile_client, name="name")))
    fragile_server.pause()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await limiter.slot().__aenter__()
    fragile_server.resume()

    async def nobody_counts() -> bool:
        return await fragile_client.zcard(sorted_set("name")) == 0

    await asyncio.sleep(0.05)
    await eventually(nobody_counts)


@MODES
@pytest.mark.parametrize("error", ["READONLY", "WRONGTYPE"])
async def test_an_error_of_the_server_counts_as_no_answer(
    fragile_server: Server, fragile_client: Redis, mode: Any, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = limit_jobs(limit=SharedLimit(3, redis=fragile_client, name="name", when_unreachable=mode))
    assert await admits(limiter)
    if error == "READONLY":
        await fragile_client.replicaof("127.0.0.1", "1")
    else:
        await fragile_client.set(sorted_set("name"), "not a sorted set")
    assert await five_at_once(limiter) == ADMITTED[mode]
    assert {"READONLY": "read only replica", "WRONGTYPE": "WRONGTYPE"}[error] in caplog.text


@MODES
async def test_any_error_of_the_client_counts_as_no_answer(mode: Any) -> None:
    class Client:
        async def evalsha(self, *args: Any) -> Any:
            raise OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'")

        eval = evalsha

    assert (
        await five_at_once(limit_jobs(limit=SharedLimit(3, redis=Client(), name="a", when_unreachable=mode)))
        == (ADMITTED[mode])
    )


async def test_a_server_whose_memory_is_full_goes_on_counting(fragile_server: Server, fragile_client: Redis) -> None:
    one, other = (limit_jobs(limit=SharedLimit(3, redis=fragile_client, name="name")) for _ in range(2))
    await fragile_client.config_set("maxmemory", 1)
    assert await five_at_once(one, other) == 3


@MODES
async def test_under_load_a_limit_outlives_its_server(fragile_server: Server, mode: Any) -> None:
    running = most = admitted = 0
    stop = False

    async def process(limiter: Any) -> None:
        nonlocal running, most, admitted
        while not stop:
            try:
                async with limiter.slot():
                    running += 1
                    admitted += 1
                    most = max(most, running)
                    try:
                        await asyncio.sleep(0.005)
                    finally:
                        running -= 1
            except TooManyCalls:
                await asyncio.sleep(0.005)

    async with AsyncExitStack() as stack:
        limiters = []
        for _ in range(2):
            client = await stack.enter_async_context(Redis(port=fragile_server.port))
            shared = SharedLimit(3, redis=client, name="name", lease=0.6, when_unreachable=mode)
            limiters.append(limit_jobs(limit=shared, max_waiting_time=0.1))
        tasks = [asyncio.create_task(process(limiters[n % 2])) for n in range(10)]

        async def settles(condition: Callable[[], bool]) -> None:
            nonlocal most, admitted

            async def held_for_a_while() -> bool:
                nonlocal most, admitted
                most = admitted = 0
                await asyncio.sleep(0.2)
                return condition()

            await eventually(held_for_a_while, 15)

        await settles(lambda: most == 3 and admitted > 10)
        fragile_server.kill()
        await settles(
            {"local": lambda: 3 < most <= 6, "open": lambda: most == 10, "closed": lambda: not admitted}[mode]
        )
        fragile_server.start()
        await settles(lambda: most == 3 and admitted > 10)
        stop = True
        await asyncio.gather(*tasks)
