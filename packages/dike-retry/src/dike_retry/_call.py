"""One call of a decorated function: its failures so far, and what is made of the next."""

import asyncio
import logging

from dike_retry import _report
from dike_retry._policy import Policy, decide, is_final


class Call:
    """What one call has been through. Made at its first failure, or at its start if a clock matters.

    Args:
        policy: The rules.
        function: The name of the function.
        started: The time of the call's start on the loop's clock, if a clock matters.
        deadline: When it must be over on that clock, if ever.
    """

    __slots__ = ("_attempt", "_base", "_deadline", "_function", "_last", "_policy", "_started")

    def __init__(
        self, policy: Policy, function: str, started: float | None = None, deadline: float | None = None
    ) -> None:
        self._policy = policy
        self._function = function
        self._started = started
        self._deadline = deadline
        self._attempt = 0
        self._base = policy.delay
        self._last: BaseException | None = None

    def judge(self, exc: BaseException) -> float | None:
        """Return the seconds to sleep before the next attempt, or `None` if `exc` has to come out."""
        task = asyncio.current_task()
        if is_final(exc) or (task is not None and task.cancelling()):
            return None
        policy = self._policy
        self._attempt += 1
        base = self._base
        self._base = base * policy.backoff
        now = 0.0 if self._deadline is None else asyncio.get_running_loop().time()
        outcome = decide(policy, exc, self._attempt, base, now, self._deadline)
        if isinstance(outcome, str):
            self._give_up(exc, outcome)
            return None
        if self._deadline is not None:
            self._last = exc
        if _report.logger.isEnabledFor(logging.WARNING):
            _report.log_retry(self._function, self._attempt, exc, outcome, with_traceback=policy.log_exception_info)
        self._tell(exc, outcome, None)
        return outcome

    def resume(self) -> None:
        """Raise the last failure again if the sleep has taken longer than planned, past the deadline."""
        late = self._deadline is not None and asyncio.get_running_loop().time() >= self._deadline
        if late and self._last is not None:
            self._give_up(self._last, "timeout")
            raise self._last

    def time_out(self) -> TimeoutError:
        """Return the error that stands for the attempt cut by the deadline."""
        self._attempt += 1
        error = TimeoutError(f"{self._function} took longer than {self._policy.timeout:g}s")
        if self._last is not None:
            error.__cause__ = self._last
        self._give_up(error, "timeout")
        return error

    def forget(self) -> None:
        """Let go of the last failure, whose traceback refers to the frame that holds this object."""
        self._last = None

    def _give_up(self, exc: BaseException, reason: _report.Reason) -> None:
        if self._attempt > 1:
            _report.log_giving_up(self._function, self._attempt, exc, reason)
        self._tell(exc, None, reason)

    def _tell(self, exc: BaseException, delay: float | None, reason: _report.Reason | None) -> None:
        if self._policy.on_failure is None or self._started is None:
            return
        elapsed = asyncio.get_running_loop().time() - self._started
        try:
            self._policy.on_failure(_report.FailedAttempt(self._function, self._attempt, exc, delay, elapsed, reason))
        except Exception:
            _report.log_broken_hook(self._function)
