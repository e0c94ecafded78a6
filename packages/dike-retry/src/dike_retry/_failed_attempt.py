"""What the hook gets to know of a failed attempt."""

from typing import Literal, NamedTuple

Reason = Literal["attempts", "timeout", "budget", "retry_if"]


class FailedAttempt(NamedTuple):
    """One failed attempt and what `retry` made of it; the argument of `on_failure`. Immutable.

    Attributes:
        function: The qualified name of the function; of a `functools.partial`, that of its function.
        attempt: The number of the attempt, from 1.
        exception: What the attempt raised; for an attempt cut by the deadline, the `TimeoutError`.
        delay: Seconds until the next attempt, or `None` when giving up.
        elapsed: Seconds since the call began, on the running loop's clock.
        gave_up: Why there is no next attempt: ``"attempts"``, ``"timeout"``, ``"budget"`` or ``"retry_if"``, or `None`
            when there is one.
    """

    function: str
    attempt: int
    exception: BaseException
    delay: float | None
    elapsed: float
    gave_up: Reason | None
