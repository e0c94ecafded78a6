"""One limit for many processes and machines, kept in Redis."""

from __future__ import annotations

import logging
import math
import threading
from asyncio import get_running_loop
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from ._decorating import number, require, seconds
from ._limit import Limit

if TYPE_CHECKING:
    from datetime import timedelta

    from ._rules import Call

    # What only a `SharedLimit` needs is imported when there is one: an import of the package takes everybody's time.
    from ._shared_client import Client
    from ._shared_leases import Lease, Leases
    from ._shared_server import Answer

logger = logging.getLogger("dike")


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

        from ._loops import PerLoop
        from ._shared_call import SharedCall
        from ._shared_client import maker
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
        self._make_client = maker(redis)
        self.call: type[Call] = SharedCall
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
