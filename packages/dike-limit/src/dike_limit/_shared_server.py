"""The server, as one event loop reaches it: one try is short, and after one that failed there is a pause.

The client's own retries and timeouts make no difference, nor does the time that it takes to see that it is cancelled:
by then all who waited for an answer have gone on without.
"""

import asyncio
import logging
import math
from asyncio import AbstractEventLoop, Future, TimerHandle, get_running_loop, timeout
from collections.abc import Callable, Coroutine
from typing import Any, Literal

logger = logging.getLogger("dike")

# How long one try to reach the server may take, and how long nobody tries after one that failed, in seconds.
TRY = 0.25
PAUSE = 1.0
# How many sorted sets may have an exchange at the same time: each takes a connection of the client.
CONNECTIONS = 16
# A timer that comes later than this, in seconds, tells that the loop stood still, and could not hear an answer.
STOOD_STILL = 0.01

Mode = Literal["local", "open", "closed"]
Answer = tuple[list[int], list[int], int]
RunScript = Callable[[bytes, list[Any]], Coroutine[Any, Any, Answer]]


class Server:
    """The server, as one event loop reaches it.

    Args:
        name: The limit's name, for the log.
        mode: What happens while the server does not answer, for the log.
        run_script: Runs the script on a sorted set.

    Attributes:
        loop: The event loop.
        answers: Whether the last try succeeded.
        on_change: Called after each try that failed, and after the first that succeeds again.
        connections: To be held during an exchange.
    """

    def __init__(self, name: str, mode: Mode, run_script: RunScript) -> None:
        self.loop: AbstractEventLoop = get_running_loop()
        self.answers: bool = True
        self.on_change: Callable[[], None] = lambda: None
        self.connections: asyncio.Semaphore = asyncio.Semaphore(CONNECTIONS)
        self._name = name
        self._mode = mode
        self._run_script = run_script
        self._silent_until = 0.0

    def is_silent(self) -> bool:
        """Whether the last try has failed, and it is not yet time for another."""
        return not self.answers and self.loop.time() < self._silent_until

    async def exchange(self, sorted_set: bytes, arguments: list[Any]) -> Answer | None:
        """Run the script, and return its answer, or `None` if none came in time."""
        # One tries, however many would like to meanwhile.
        self._silent_until = self.loop.time() + PAUSE
        over: Future[bool] = self.loop.create_future()
        limit = timeout(None)

        def give_up() -> None:
            self._has_failed(f"no answer within {TRY} s")
            limit.reschedule(self.loop.time())

        timer = self._set_timer(TRY, over, give_up)
        try:
            async with limit:
                answer = await self._run_script(sorted_set, arguments)
        except Exception as exception:
            if not limit.expired():
                self._has_failed(f"{type(exception).__name__}: {exception}")
            return None
        finally:
            over.cancel()
            timer.cancel()
        if not self.answers:
            self.answers = True
            logger.info("Shared limit %r can use its server again", self._name)
            self.on_change()
        return answer

    def _has_failed(self, reason: str) -> None:
        self._silent_until = self.loop.time() + PAUSE
        if self.answers:
            self.answers = False
            logger.warning(
                "Shared limit %r cannot use its server (%s) and is %s until it can", self._name, reason, self._mode
            )
        self.on_change()

    async def wait(self, future: Future[bool], seconds: float, late: Callable[[], None]) -> bool:
        """Wait for `future`, which `late` sets if nobody else has done so within `seconds`."""
        if seconds == math.inf:
            return await future
        timer = self._set_timer(seconds, future, late)
        try:
            return await future
        finally:
            timer.cancel()

    def _set_timer(self, seconds: float, future: Future[bool], late: Callable[[], None]) -> TimerHandle:
        when = self.loop.time() + seconds
        return self.loop.call_at(when, self._time_is_up, when, future, late)

    def _time_is_up(self, when: float, future: Future[bool], late: Callable[[], None]) -> None:
        if future.done():
            return
        stood_still = self.loop.time() - when
        if stood_still > STOOD_STILL:
            # The time that it has lost is given back, but not for ever.
            self.loop.call_later(min(stood_still, TRY), self._time_is_up, math.inf, future, late)
        else:
            late()
