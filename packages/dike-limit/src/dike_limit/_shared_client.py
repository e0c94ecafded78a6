"""The client by which a `SharedLimit` talks to its server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from ._decorating import is_coroutine_function


class Client(Protocol):
    """What is used of redis-py's asyncio clients."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script that the server knows."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script, which the server then knows."""


def maker(redis: Any) -> Callable[[], Client]:
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
