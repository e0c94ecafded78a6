"""The server, as one event loop reaches it: one try is short, and after one that failed there is a pause.

Neither the client's own retries and timeouts nor the time that it takes to cancel it make a difference: a try is a task
that is left behind when its time is up.
"""

import asyncio
import logging
import math
from asyncio import Future, Task, get_running_loop, sleep
from collections.abc import Callable, Coroutine
from typing import Any, Literal

logger = logging.getLogger("dike")

# How long one try to reach the server may take, and how long nobody tries after one that failed, in seconds.
TRY = 0.25
PAUSE = 1.0
# How many sorted sets may have an exchange at the same time: each takes a connection of the client.
CONNECTIONS = 16
# For how many turns a loop that may have stood still reads what has come meanwhile, before it says that nothing has.
TURNS = 10

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
        on_change: Called when `answers` has changed, and after each try that failed.
        connections: To be held during an exchange.
    """

    def __init__(self, name: str, mode: Mode, run_script: RunScript) -> None:
        self.loop = get_running_loop()
        self.answers = True
        self.on_change: Callable[[], None] = lambda: None
        self.connections = asyncio.Semaphore(CONNECTIONS)
        self._name = name
        self._mode = mode
        self._run_script = run_script
        self._silent_until = 0.0
        self._abandoned: set[Task[Answer]] = set()

    def is_silent(self) -> bool:
        """Whether the last try has failed, and it is not yet time for another."""
        return not self.answers and self.loop.time() < self._silent_until

    async def exchange(self, sorted_set: bytes, arguments: list[Any]) -> Answer | None:
        """Run the script, and return its answer, or `None` if none came in time."""
        # One tries, however many would like to meanwhile.
        self._silent_until = self.loop.time() + PAUSE
        trial = self.loop.create_task(self._run_script(sorted_set, arguments))
        try:
            await asyncio.wait({trial}, timeout=TRY)
            for _ in range(TURNS):
                if not trial.done():
                    await sleep(0)
        finally:
            if not trial.done():
                trial.cancel()
                self._abandoned.add(trial)
                trial.add_done_callback(self._forget)
        try:
            answer = trial.result()
        except asyncio.InvalidStateError:
            self._has_failed(f"no answer within {TRY} s")
        except Exception as exception:
            self._has_failed(f"{type(exception).__name__}: {exception}")
        else:
            if not self.answers:
                self.answers = True
                logger.info("Shared limit %r can use its server again", self._name)
                self.on_change()
            return answer
        return None

    def _forget(self, trial: Task[Answer]) -> None:
        self._abandoned.discard(trial)
        if not trial.cancelled():
            trial.exception()  # Looked at, so that asyncio does not report it.

    def _has_failed(self, reason: str) -> None:
        self._silent_until = self.loop.time() + PAUSE
        if self.answers:
            self.answers = False
            logger.warning(
                "Shared limit %r cannot use its server (%s). Until it can, it is %s", self._name, reason, self._mode
            )
        self.on_change()

    async def wait(self, future: Future[bool], seconds: float, late: Callable[[], None]) -> bool:
        """Wait for `future`, which `late` sets if nobody else has done so within `seconds`."""
        timer = None if seconds == math.inf else self.loop.call_later(seconds, self._if_late, future, late, TURNS)
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()

    def _if_late(self, future: Future[bool], late: Callable[[], None], turns: int) -> None:
        if not future.done():
            if turns:
                self.loop.call_soon(self._if_late, future, late, turns - 1)
            else:
                late()
