"""Applying the rules to the failures of one function, and reporting what comes of it."""

from logging import WARNING

from dike_retry import _report
from dike_retry._policy import GROUP, Policy, is_final
from dike_retry._report import logger
from dike_retry._tasks import current_task
from dike_retry._timing import Timing


class Judge:
    """Judges the failed attempts of one function. It holds no state: that of a call is its shell's.

    Args:
        policy: The rules.
        function: The qualified name of the function.
    """

    __slots__ = ("_function", "_policy")

    def __init__(self, policy: Policy, function: str) -> None:
        self._policy = policy
        self._function = function

    def judge(self, exc: BaseException, attempt: int, base: float, timing: Timing | None = None) -> float | None:
        """Return the seconds to sleep before the next attempt, or `None` if `exc`, none of `FINAL`, has to come out."""
        task = current_task()
        if (task is not None and task.cancelling()) or (isinstance(exc, GROUP) and is_final(exc)):
            return None
        outcome = self._policy.decide(exc, attempt, base, timing)
        if isinstance(outcome, str):
            self.give_up(exc, attempt, outcome, timing)
            return None
        if logger.isEnabledFor(WARNING):
            _report.log_retry(self._function, attempt, exc, outcome, with_traceback=self._policy.log_exception_info)
        if timing is not None:
            timing.remember(exc)
            self._tell(exc, attempt, outcome, None, timing)
        return outcome

    def give_up(self, exc: BaseException, attempt: int, reason: _report.Reason, timing: Timing | None) -> None:
        """Report that `exc` comes out."""
        if attempt > 1:
            _report.log_giving_up(self._function, attempt, exc, reason)
        if timing is not None:
            self._tell(exc, attempt, None, reason, timing)

    def time_out(self, attempt: int, timing: Timing) -> TimeoutError:
        """Return the error that stands for an attempt cut by the deadline."""
        error = TimeoutError(f"{self._function} took longer than {self._policy.timeout:g}s")
        if timing.last_failure is not None:
            error.__cause__ = timing.last_failure
        self.give_up(error, attempt, "timeout", timing)
        return error

    def oversleep(self, attempt: int, timing: Timing) -> BaseException:
        """Return the last failure again, because the sleep after it took longer than planned, past the deadline."""
        assert timing.last_failure is not None
        self.give_up(timing.last_failure, attempt, "timeout", timing)
        return timing.last_failure

    def _tell(
        self, exc: BaseException, attempt: int, delay: float | None, reason: _report.Reason | None, timing: Timing
    ) -> None:
        if self._policy.on_failure is None:
            return
        try:
            self._policy.on_failure(
                _report.FailedAttempt(self._function, attempt, exc, delay, timing.elapsed(), reason)
            )
        except Exception:
            _report.log_broken_hook(self._function)
