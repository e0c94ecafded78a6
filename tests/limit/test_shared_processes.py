"""What SharedLimit promises to several processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from dike_limit import SharedLimit, limit_jobs
from dike_limit._shared_keys import sorted_set
from limit.shared_server import Server, admits, eventually
from redis.asyncio import Redis

pytestmark = pytest.mark.real_time

NAME = sorted_set("workers")
WORKER = str(Path(__file__).with_name("shared_worker.py"))
EXAMPLE = str(Path(__file__).parents[2] / "docs" / "examples" / "shared_limit.py")


StartWorker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(fragile_server: Server) -> Iterator[StartWorker]:
    """Start a worker, which is killed at the end of the test at the latest."""
    workers = []

    def start(tasks: int, seconds_per_job: float, clock_error: float = 0) -> "subprocess.Popen[bytes]":
        arguments = map(str, (fragile_server.port, tasks, seconds_per_job, clock_error))
        workers.append(subprocess.Popen([sys.executable, WORKER, *arguments]))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize(
    "clock_errors", [(0, 0, 0, 0), (-3600, 0, 3600)], ids=["clocks right", "clocks wrong by an hour"]
)
def test_processes_never_exceed_the_limit_and_use_all_of_it(
    fragile_server: Server, start_worker: StartWorker, clock_errors: tuple[float, ...]
) -> None:
    workers = [start_worker(4, 0.02, error) for error in clock_errors]
    with redis.Redis(port=fragile_server.port) as client:
        while client.scard("came") < len(workers) or client.llen("seen") < 100:
            assert [worker.poll() for worker in workers] == [None] * len(workers)
            time.sleep(0.01)
        client.set("stop", 1)
        assert [worker.wait(20) for worker in workers] == [0] * len(workers)
        assert max(map(int, client.lrange("seen", 0, -1))) == 4
        assert client.zcard(NAME) == 0


async def test_the_slots_of_a_killed_process_come_back_within_a_lease(
    fragile_client: Redis, start_worker: StartWorker
) -> None:
    limiter = limit_jobs(limit=SharedLimit(4, redis=fragile_client, name="workers", lease=2))
    worker = start_worker(4, 60)

    async def holds_all() -> bool:
        return await fragile_client.zcard(NAME) == 4

    await eventually(holds_all, 20)
    # Long enough for its leases to have been renewed.
    await asyncio.sleep(1)
    assert not await admits(limiter)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    killed = time.monotonic()
    assert not await admits(limiter)
    while not await admits(limiter):
        await asyncio.sleep(0.01)
    # Its leases were renewed at most two thirds of a second before; the rest is for a busy machine.
    assert time.monotonic() - killed < 2 + 2


def test_the_example_of_the_docs_runs_in_several_processes_at_once(server: Server) -> None:
    environment = os.environ | {"REDIS_URL": f"redis://localhost:{server.port}"}
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", EXAMPLE], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=30)[0] for process in processes]
    assert printed == [b"285\n", b"285\n"]
