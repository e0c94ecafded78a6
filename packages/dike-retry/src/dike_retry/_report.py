"""What others get to know of failed attempts: the hook, the log, the note on the exception."""

import contextlib
import logging
from typing import Literal, NamedTuple

logger = logging.getLogger("dike")

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


def log_retry(function: str, attempt: int, exc: BaseException, delay: float, *, with_traceback: bool) -> None:
    """Log that `exc`, the exception being handled, is answered with another attempt."""
    logger.warning(
        "Caught exception %s. Retrying in %.3gs ...",
        _safe_repr(exc),
        delay,
        # Not the exception itself: logging leaves out one that counts as false.
        exc_info=with_traceback or None,
        extra=_fields(function, attempt, exc, delay),
    )


def log_giving_up(function: str, attempt: int, exc: BaseException, reason: Reason) -> None:
    """Log that there were retries, but `exc` comes out, and say so on `exc` itself (PEP 678)."""
    text = f"gave up on {function} after {attempt} attempts ({reason})"
    if logger.isEnabledFor(logging.INFO):
        fields = _fields(function, attempt, exc, None)
        logger.info("%s: %s", text, _safe_repr(exc), extra={**fields, "gave_up": reason})
    # The note is a courtesy: an exception that takes none must still come out as itself.
    with contextlib.suppress(Exception):
        if text not in getattr(exc, "__notes__", ()):
            exc.add_note(text)


def log_broken_hook(function: str) -> None:
    """Log the exception being handled, which the `on_failure` hook raised."""
    logger.exception("Ignored an exception in on_failure", extra={"function": function})


def _fields(function: str, attempt: int, exc: BaseException, delay: float | None) -> dict[str, object]:
    return {"function": function, "attempt": attempt, "delay": delay, "exception_type": type(exc).__name__}


def _safe_repr(exc: BaseException) -> str:
    # Not left to the logging machinery, which answers a broken repr with a traceback on standard error.
    try:
        return repr(exc)
    except Exception:
        return object.__repr__(exc)
