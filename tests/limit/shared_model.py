"""A model of the server and its script, on the clock of the event loop, for tests on virtual time.

A test against the real server sees to it that it does as the script does.
"""

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError


def run_script(members: dict[str, float], now: float, arguments: list[Any]) -> list[Any]:
    """Do what the script does to a sorted set, and return what it returns; `now` in ms."""
    lease, leave, stay, *rest = arguments
    for member in [member for member, ends in members.items() if ends <= now]:
        del members[member]
    lost = []
    for i, member in enumerate(rest[:leave], 1):
        if members.pop(member, None) is None:
            lost.append(i)
    for i, member in enumerate(rest[leave : leave + stay], leave + 1):
        if member not in members:
            lost.append(i)
        members[member] = now + lease
    entered = []
    for member, capacity in zip(rest[leave + stay :: 2], rest[leave + stay + 1 :: 2], strict=True):
        enters = member in members or len(members) + 1 <= capacity
        if enters:
            members[member] = now + lease
        entered.append(int(enters))
    return [lost, entered, round(min(members.values()) - now) if members else -1]


class ModelServer:
    """A server that does with each command what it is told to do; else it answers at once.

    Attributes:
        sets: The sorted sets.
        behaviour: What happens with the next commands: pairs of the seconds until a command arrives and until its
            answer arrives, infinity if never, negative for an error instead.
        tries: When each command was sent.
        most_under_way: How many commands have been under way at the same time, at most.
    """

    def __init__(self, behaviour: list[tuple[float, float]] | None = None) -> None:
        self.sets: dict[bytes, dict[str, float]] = {}
        self.behaviour = behaviour or []
        self.tries: list[float] = []
        self.most_under_way = self._under_way = 0

    def members(self, key: bytes) -> set[str]:
        now = asyncio.get_running_loop().time() * 1000
        return {member for member, ends in self.sets.get(key, {}).items() if ends > now}

    async def evalsha(self, sha: str, keys: int, key: bytes, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        self.tries.append(loop.time())
        there, back = self.behaviour.pop(0) if self.behaviour else (0, 0)
        answer: asyncio.Future[Any] = loop.create_future()

        def arrive() -> None:
            result = run_script(self.sets.setdefault(key, {}), loop.time() * 1000, list(arguments))
            if not answer.done():
                if back < 0:
                    answer.set_exception(RedisConnectionError("the answer is lost"))
                elif back < float("inf"):
                    loop.call_later(back, lambda: answer.done() or answer.set_result(result))

        if there < 0:
            raise RedisConnectionError("refused")
        if there < float("inf"):
            # Whoever gives up meanwhile does not keep it from arriving.
            loop.call_later(there, arrive)
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        try:
            return await answer
        finally:
            self._under_way -= 1

    eval = evalsha
