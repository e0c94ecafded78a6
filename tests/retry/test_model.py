"""Many calls at once of functions with random options, against a model that is told of each event as it happens."""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dike_retry import FailedAttempt, RetryBudget, retry
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from virtual_clock import VirtualClockLoop

# All times are multiples of a quarter, which floats hold exactly; what the machine does falls between them.
QUARTERS = st.integers(0, 12).map(lambda n: n / 4)


class Failure(Exception):  # noqa: N818
    def __init__(self, answer: bool | timedelta) -> None:
        super().__init__(answer)
        self.answer = answer


class Unlisted(Exception):  # noqa: N818
    """Not in exception_types."""


class Final(BaseExceptionGroup):
    """A group that holds a cancellation."""


@dataclass
class Attempt:
    """What an attempt will do: take some time, then return or raise; and how it answers a cancellation."""

    duration: float
    error: BaseException | None
    cleanup: float
    when_cancelled: BaseException | str | None  # an error instead; "swallow"; or let it through


ERRORS = st.one_of(
    st.sampled_from([True, True, True, False]).map(Failure),
    st.integers(-1, 24).map(lambda quarters: Failure(timedelta(seconds=quarters / 4))),
    st.just(0).map(lambda _: Unlisted()),
    st.just(0).map(lambda _: Final("some", [asyncio.CancelledError()])),
)
ATTEMPTS = st.builds(
    Attempt,
    duration=QUARTERS,
    error=st.one_of(ERRORS, ERRORS, ERRORS, st.none()),
    cleanup=st.one_of(st.just(0.0), QUARTERS),
    when_cancelled=st.one_of(st.none(), st.none(), st.just("swallow"), ERRORS),
)


@dataclass
class Options:
    attempts: float | None
    delay: float
    backoff: float
    max_delay: float | None
    jitter: float
    timeout: float | None
    asks: bool
    budget: int | None

    def __post_init__(self) -> None:
        if self.max_delay is not None:
            self.max_delay = max(self.max_delay, self.delay)


OPTIONS = st.builds(
    Options,
    attempts=st.sampled_from([None, 1, 2, 2.5, 4]),
    delay=QUARTERS,
    backoff=st.sampled_from([0, 0.5, 1, 2]),
    max_delay=st.sampled_from([None, 3, 5]),
    jitter=st.sampled_from([0, 0, 0.5, 1]),
    timeout=st.sampled_from([None, 1, 4, 8.25]),
    asks=st.booleans(),
    budget=st.sampled_from([None, 0, 1]),
)


@dataclass
class Budget:
    """The model of a budget."""

    ratio: float
    capacity: float
    balance: float = 0

    def __post_init__(self) -> None:
        self.balance = self.capacity

    def deposit(self) -> None:
        self.balance = min(self.capacity, self.balance + self.ratio)

    def withdraw(self) -> bool:
        if self.balance < 1:
            return False
        self.balance -= 1
        return True


@dataclass
class Call:
    """The model of one call: it is told what happens, and tells what must come of it."""

    options: Options
    script: list[Attempt]
    budget: Budget | None
    random: random.Random
    started_at: float | None = None
    attempts: int = 0
    base: float = 0
    next_at: float = 0
    last: BaseException | None = None
    cancelled: bool = False
    judged: list[tuple[int, float | None, str | None]] = field(default_factory=list)
    reported: list[tuple[int, float | None, str | None]] = field(default_factory=list)
    outcome: Any = None  # what must come out, once it is known

    @property
    def deadline(self) -> float:
        assert self.started_at is not None
        return math.inf if self.options.timeout is None else self.started_at + self.options.timeout

    def attempt_starts(self, now: float) -> Attempt:
        if self.started_at is None:
            self.started_at = self.next_at = now
            self.base = self.options.delay
        assert math.isclose(now, self.next_at, abs_tol=1e-9)
        assert now < self.deadline
        assert not self.cancelled
        self.attempts += 1
        assert self.options.attempts is None or self.attempts < self.options.attempts + 1
        return self.script.pop(0) if self.script else Attempt(0, None, 0, None)

    def attempt_succeeds(self) -> None:
        if self.budget is not None:
            self.budget.deposit()
        self.outcome = "success"

    def attempt_is_cancelled(self, now: float) -> None:
        """The cancellation, from outside or from the deadline, is let through."""
        if self.cancelled:
            self.outcome = asyncio.CancelledError
            return
        assert now > self.deadline - 1e-9
        self.outcome = TimeoutError
        self.judged.append((self.attempts, None, "timeout"))

    def attempt_fails(self, now: float, error: BaseException) -> None:
        if not isinstance(error, Failure) or self.cancelled:
            self.outcome = error
            return
        delay, reason = self.decide(now, error)
        self.judged.append((self.attempts, delay, reason))
        if delay is None:
            self.outcome = error
        else:
            self.last = error
            self.next_at = now + delay

    def decide(self, now: float, error: Failure) -> tuple[float | None, str | None]:
        options = self.options
        base, self.base = self.base, self.base * options.backoff
        most = math.inf if options.max_delay is None else options.max_delay
        asked = None
        if options.asks:
            if error.answer is False:
                return None, "retry_if"
            if isinstance(error.answer, timedelta):
                asked = error.answer.total_seconds()
                if asked < 0 or asked > most:
                    return None, "retry_if"
        if options.attempts is not None and self.attempts >= options.attempts:
            return None, "attempts"
        delay = asked
        if delay is None:
            delay = min(base, most)
            if options.jitter:
                delay *= self.random.uniform(1 - options.jitter, 1)
        if now + delay >= self.deadline:
            return None, "timeout"
        if self.budget is not None and not self.budget.withdraw():
            return None, "budget"
        return delay, None


class Calls(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.loop = self.runner.get_loop()
        self.calls: dict[asyncio.Task[str], Call] = {}
        self.problems: list[BaseException] = []

    @initialize(
        options=st.lists(OPTIONS, min_size=1, max_size=3),
        capacities=st.tuples(st.sampled_from([0, 1, 2.5]), st.sampled_from([1, 3])),
        seed=st.integers(0, 1000),
    )
    def build(self, options: list[Options], capacities: tuple[float, float], seed: int) -> None:
        random.seed(seed)
        self.random = random.Random(seed)
        self.budgets = [RetryBudget(ratio=0.25, capacity=capacity) for capacity in capacities]
        self.model_budgets = [Budget(0.25, capacity) for capacity in capacities]
        self.functions = [(each, self.decorated(each)) for each in options]

    def decorated(self, options: Options) -> Callable[[], Any]:
        def ask(error: Failure) -> bool | timedelta:
            return error.answer

        @retry(
            attempts=options.attempts,
            exception_types=(Failure, BaseExceptionGroup),
            delay=options.delay,
            backoff=options.backoff,
            max_delay=options.max_delay,
            jitter=options.jitter,
            timeout=options.timeout,
            retry_if=ask if options.asks else None,
            budget=None if options.budget is None else self.budgets[options.budget],
            on_failure=self.hear,
            log_exception_info=False,
        )
        async def func() -> str:
            call = self.current_call()
            with self.watched():
                attempt = call.attempt_starts(self.loop.time())
            error = attempt.error
            try:
                if attempt.duration:
                    await asyncio.sleep(attempt.duration)
            except asyncio.CancelledError:
                try:
                    await asyncio.sleep(attempt.cleanup)
                except asyncio.CancelledError:
                    attempt.when_cancelled = None
                if attempt.when_cancelled is None:
                    with self.watched():
                        call.attempt_is_cancelled(self.loop.time())
                    raise
                error = None if isinstance(attempt.when_cancelled, str) else attempt.when_cancelled
            if error is None:
                call.attempt_succeeds()
                return "success"
            with self.watched():
                call.attempt_fails(self.loop.time(), error)
            raise error from None

        return func

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep what fails inside, as a hook's exceptions are ignored, and a function's might be retried."""
        try:
            yield
        except AssertionError as exc:
            self.problems.append(exc)
            raise

    def current_call(self) -> Call:
        task: Any = asyncio.current_task()
        return self.calls[task]

    def hear(self, failed: FailedAttempt) -> None:
        call = self.current_call()
        call.reported.append((failed.attempt, failed.delay, failed.gave_up))
        with self.watched():
            assert call.reported == call.judged
            assert call.started_at is not None
            assert math.isclose(failed.elapsed, self.loop.time() - call.started_at, abs_tol=1e-9)

    @rule(which=st.integers(0, 2), script=st.lists(ATTEMPTS, max_size=6))
    def start(self, which: int, script: list[Attempt]) -> None:
        options, func = self.functions[which % len(self.functions)]
        budget = None if options.budget is None else self.model_budgets[options.budget]
        call = Call(options, script, budget, self.random)
        self.calls[self.loop.create_task(func())] = call
        self.let_time_pass(0)

    @rule(quarters=st.integers(0, 20))
    def let_time_pass(self, quarters: int) -> None:
        # To an eighth past a quarter, where nothing of the calls without jitter happens.
        now = self.loop.time()
        self.runner.run(asyncio.sleep(math.floor(now * 4) / 4 + quarters / 4 + 0.125 - now if quarters else 1 / 1024))

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        running = [task for task in self.calls if not task.done()]
        if running:
            task = running[which % len(running)]
            call = self.calls[task]
            call.cancelled = True
            task.cancel()
            self.let_time_pass(0)
            if task.done() and call.outcome is None:  # it was asleep
                call.outcome = asyncio.CancelledError

    @invariant()
    def all_went_as_the_model_says(self) -> None:
        if self.problems:
            raise self.problems[0]

    @invariant()
    def the_budgets_are_as_the_model_says(self) -> None:
        if hasattr(self, "budgets"):
            assert [each.balance for each in self.budgets] == [each.balance for each in self.model_budgets]

    @invariant()
    def finished_calls_came_out_as_the_model_says(self) -> None:
        for task, call in self.calls.items():
            if not task.done():
                continue
            assert call.reported == call.judged
            if call.outcome is asyncio.CancelledError:
                assert task.cancelled()
                continue
            if call.outcome == "success":
                assert task.result() == "success"
                continue
            error = task.exception()
            if call.outcome is TimeoutError:
                assert type(error) is TimeoutError
                assert error.__cause__ is call.last
            else:
                assert error is call.outcome

    def teardown(self) -> None:
        async def finish() -> None:
            if self.calls:
                await asyncio.wait(self.calls)

        with self.runner:
            self.runner.run(finish())
            self.all_went_as_the_model_says()
            self.finished_calls_came_out_as_the_model_says()


Calls.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestCalls = Calls.TestCase
