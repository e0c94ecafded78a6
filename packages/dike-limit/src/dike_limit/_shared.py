"""One limit for many processes and machines, kept in Redis."""

from __future__ import annotations

import logging
import math
import threading
from asyncio import get_running_loop
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, cast

from ._decorating import is_coroutine_function, number, require, seconds
from ._loop_slots import PerLoop
from ._rules import Call, Limit
from ._slots import TOLERANCE

if TYPE_CHECKING:
    from datetime import timedelta

    # What only a `SharedLimit` needs is imported when there is one: an import of the package takes everybody's time.
    from ._shared_leases import Lease, Leases
    from ._shared_server import Answer

logger = logging.getLogger("dike")


class Client(Protocol):
    """What is used of redis-py's asyncio clients."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script that the server knows."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script, which the server then knows."""


class SharedCall(Call):
    """One call's way through a limiter with a `SharedLimit`."""

    __slots__ = ("_lease",)

    _lease: Lease

    async def __aenter__(self) -> None:
        """Get a lease, or raise `TooManyCalls`."""
        if not self.find_slots():
            return
        slots = self.slots
        assert slots is not None
        limit, max_waiting_time = self.rules.limit, self.rules.max_waiting_time
        assert isinstance(limit, SharedLimit)
        time = get_running_loop().time
        deadline = time() + max_waiting_time
        may_wait = max_waiting_time > 0 and limit.current() + TOLERANCE >= 1
        # While it asks, it neither runs nor waits, and its key may be forgotten.
        self.loop_slots.drop_if_idle(slots)
        self._lease = lease = limit.new_lease(self.key, self.share, may_wait)
        try:
            may_run = await lease.ask()
            self.slots = slots = self.loop_slots if self.rules.key is None else self.loop_slots.of(self.key)
            if not may_run and lease.patient and slots.has_room():
                slots.waiting += 1
                try:
                    may_run = await lease.wait(deadline - time())
                finally:
                    slots.waiting -= 1
        except BaseException as exception:
            self.loop_slots.drop_if_idle(slots)
            lease.leave()
            if not isinstance(exception, GeneratorExit):
                await lease.left()
            raise
        if not may_run:
            lease.leave()
            raise self.refusal(lease.retry_after)
        slots.take()
        self.admitted()

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the lease back."""
        if self.slots is None:
            return
        self.give_back()
        self._lease.leave()
        # A coroutine that is closed must not suspend; a generator may, if it is closed as it should be, by `aclose`.
        if self.is_stream or not isinstance(exception, GeneratorExit):
            await self._lease.left()


class SharedLimit(Limit):
    """One limit for many processes and machines, kept in Redis or Valkey: ``limit_jobs(limit=SharedLimit(...))``.

    Each call that runs holds a lease: a member of a sorted set in Redis, which ends by itself unless it is renewed.
    So the slots of a process that was killed come back within one lease. This guards a backend from load. It is no
    mutex: an event loop that stands still for longer than a lease loses its leases while its calls go on.

    A call makes two round trips, one to enter and one to leave; calls of one event loop that come together share them.
    Calls that may wait ask again at random times, about every 50 ms, and those of one event loop together at most about
    80 times a second. They are admitted in order of arrival; those of different event loops in any order.

    One object may serve several limiters, which then share the limit, as do all objects of the same `name`.

    Args:
        limit: How many calls may run at the same time, in all processes: a number >= 0. It cannot be changed.
        redis: An asyncio client of redis-py; or a function that makes one, called once for each event loop, since a
            client belongs to the event loop that uses it. It is never closed here.
        name: What the limit is called. Limits of the same name, on the same server, are one.
        lease: How long a lease is, in seconds or as a `timedelta`. Leases are renewed every third of that time.
        when_unreachable: What happens while the server does not answer, or answers with an error. ``"local"``: each
            event loop keeps to the limit on its own; ``"open"``: all calls run; ``"closed"``: all calls are refused,
            those that wait as well. One call waits 0.25 seconds at most to find out, then there is at most one try a
            second, and other calls do not wait.

    Attributes:
        lost_leases: How many leases have ended while their calls ran, since an event loop stood still, or since the
            server lost its data. They are put back, and a warning is logged.

    Raises:
        ImportError: redis-py is not installed; ``dike-limit[redis]`` does it.
        TypeError: An argument is of the wrong type; at a call, the key is of a type that not all processes would write
            alike. Made of `str`, `bytes`, numbers, `None`, enum members, UUIDs, tuples and frozensets, it is fine.
        ValueError: An argument has a wrong value.
        RuntimeError: At a call: a client, and not a function, was given, and this is the second event loop.

    Example:
        >>> import asyncio
        >>> from dike_limit import SharedLimit, TooManyCalls, limit_jobs
        >>> from redis.asyncio import Redis
        >>> database = limit_jobs(
        ...     limit=SharedLimit(100, redis=lambda: Redis(host="redis.internal"), name="database"),
        ...     max_waiting_time=0.5,
        ... )
        >>> @database
        ... async def query(text: str) -> str:
        ...     return f"the result of {text}"

    The algorithm is the counting semaphore of J. L. Carlson, *Redis in Action*, section 6.3 (Manning, 2013), with the
    server's clock in the place of the clients'.
    """

    call: ClassVar[type[Call]] = SharedCall

    def __init__(
        self,
        limit: float,
        *,
        redis: Client | Callable[[], Client],
        name: str,
        lease: float | timedelta = 10.0,
        when_unreachable: Literal["local", "open", "closed"] = "local",
    ) -> None:
        try:
            from redis.exceptions import NoScriptError
        except ImportError:
            raise ImportError("SharedLimit needs redis-py, which comes with dike-limit[redis]") from None
        from hashlib import sha1

        from ._shared_keys import sorted_set
        from ._shared_script import SCRIPT

        self._value = number("limit", limit)
        require(self._value >= 0, "limit", ">= 0", limit)
        _check_name(name)
        self._lease = seconds("lease", lease)
        require(0 < self._lease < math.inf, "lease", "a finite time > 0", lease)
        require(
            when_unreachable in ("local", "open", "closed"),
            "when_unreachable",
            '"local", "open" or "closed"',
            when_unreachable,
        )
        self._make_client = _maker(redis)
        self.lost_leases: int = 0
        self._limit = limit
        self._name = name
        self._mode: Literal["local", "open", "closed"] = when_unreachable
        self._sorted_set = sorted_set
        self._no_script = NoScriptError
        self._script = SCRIPT
        self._sha = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
        self._leases = PerLoop(self._new_leases)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Return the constructor's call, in short."""
        return f"SharedLimit({self._limit!r}, name={self._name!r})"

    def on_loop(self) -> Leases:
        """Return the leases of the running event loop."""
        return self._leases[get_running_loop()]

    def current(self) -> float:
        """Return the limit as it was given."""
        return self._limit

    def new_lease(self, key: Any, share: float, patient: bool) -> Lease:
        """Return the place of a call on the running event loop, which has not asked yet."""
        return self.on_loop().new(self._sorted_set(self._name, key), share, patient)

    def _new_leases(self) -> Leases:
        from ._shared_leases import Leases
        from ._shared_server import Server

        client = self._make_client()

        async def run_script(key: bytes, arguments: list[Any]) -> Answer:
            try:
                answer = await client.evalsha(self._sha, 1, key, *arguments)
            except self._no_script:
                answer = await client.eval(self._script, 1, key, *arguments)
            lost, entered, oldest_ends = answer
            return lost, entered, oldest_ends

        server = Server(self._name, self._mode, run_script)
        return Leases(self._value, self._lease, self._mode, server, self._on_lost)

    def _on_lost(self, leases: int) -> None:
        with self._lock:
            self.lost_leases += leases
        logger.warning("Shared limit %r had lost %d of its leases, whose calls were running", self._name, leases)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, but got {name!r}")
    require(bool(name), "name", "a str that is not empty", name)


def _maker(redis: Any) -> Callable[[], Client]:
    """Return a function that returns the running event loop's client."""
    if is_coroutine_function(redis):
        raise TypeError(f"redis must be a client or a function that returns one, not a coroutine: {redis!r}")
    if callable(redis):
        return lambda: _checked(redis())
    clients = [_checked(redis)]

    def once() -> Client:
        try:
            return clients.pop()
        except IndexError:
            raise RuntimeError(
                "the client of a SharedLimit belongs to the first event loop that used it, and this is another one: "
                "give `redis` a function that makes a client, which is called once for each event loop"
            ) from None

    return once


def _checked(client: Any) -> Client:
    """Return `client`.

    Raises:
        TypeError: It is not an asyncio client.
    """
    from redis import Redis, RedisCluster

    if isinstance(client, Redis | RedisCluster) or not hasattr(client, "evalsha"):
        raise TypeError(f"redis must be a client of redis.asyncio, or a function that makes one, but got {client!r}")
    return cast("Client", client)
