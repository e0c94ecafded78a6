"""A batched function: its calls become entries, and its batches calls of the function."""

from asyncio import get_running_loop, wait
from collections.abc import Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple

from dike_batch._arguments import ArgumentType
from dike_batch._binding import Binding, Form, Marker
from dike_batch._dispatcher import Dispatcher, Entry, Rules, Totals
from dike_batch._functions import named
from dike_batch._loops import PerLoop
from dike_batch._pieces import CutCall
from dike_batch._results import cut, join

INCONSISTENT = "Inconsistent use of positional and keyword arguments"


class BatchInfo(NamedTuple):
    """What a batched function has done and is doing on the running event loop, all instances of a method together.

    Attributes:
        calls: Calls accepted so far.
        rows: Their rows.
        batches: Batches sent so far.
        waiting_rows: Rows that wait for a batch.
        running_batches: Batches whose function runs.
        cancelled: Calls whose caller was cancelled, while they waited or while their batch ran.
    """

    calls: int
    rows: int
    batches: int
    waiting_rows: int
    running_batches: int
    cancelled: int


class Recipe(NamedTuple):
    """How the batches of a queue are passed to the function."""

    form: Form
    others: Mapping[Marker, Any]


class LoopState:
    """What belongs to one event loop."""

    __slots__ = ("dispatchers", "totals")

    def __init__(self) -> None:
        self.totals = Totals()
        # By the identity of the instance, which lives as long as one of its calls does.
        self.dispatchers: dict[int, Dispatcher] = {}


class Batcher:
    """Takes the calls of one function, and runs it for batches of them."""

    def __init__(self, func: Any, rules: Rules, argument_type: ArgumentType, group_by: tuple[str, ...]) -> None:
        self._func = func
        self._name = named(func).__name__
        self._rules = rules
        self._type = argument_type
        self._binding = Binding(func, self._name, group_by)
        self._states: PerLoop[LoopState] = PerLoop(LoopState)

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Entry | CutCall:
        """Let a call wait for its batch; the result comes to the future of what is returned.

        Raises:
            TypeError: The call does not fit the signature, an argument is no container, or one of `group_by` no key.
            ValueError: The arguments have no rows, or not equally many, or are passed in another way than those of the
                calls that wait.
        """
        loop = get_running_loop()
        state = self._states[loop]
        form = self._binding.form(len(args), kwargs)
        instance = None if form.instance is None else form.get(form.instance, args, kwargs)
        dispatcher = state.dispatchers.get(id(instance))
        if form.error is not None:
            raise self._misfit(form, args, kwargs, dispatcher)
        values = tuple([self._type._copy(form.get(marker, args, kwargs)) for marker in form.markers])
        rows = self._rows(form, values)
        key = (self._binding.group(form, args, kwargs), self._type._kind(values))
        queue = None if dispatcher is None else dispatcher.queues.get(key)
        if queue is None:
            recipe = Recipe(form, {marker: form.get(marker, args, kwargs) for marker in form.others})
        else:
            recipe = queue.recipe
            if recipe.form is not form and recipe.form.pattern != form.pattern:
                raise ValueError(INCONSISTENT)
        # From here on nothing fails: the call is accepted.
        if dispatcher is None:
            dispatcher = state.dispatchers[id(instance)] = Dispatcher(
                loop,
                self._rules,
                state.totals,
                run=self._run,
                name=f"a batch of {self._name}()",
                on_empty=partial(state.dispatchers.pop, id(instance), None),
            )
        totals = state.totals
        totals.calls += 1
        totals.rows += rows
        future = loop.create_future()
        if rows <= self._rules.max_rows:
            entry = Entry(future, rows, values, loop.time(), totals.calls, copy_context())
            dispatcher.add(key, recipe, entry)
            return entry
        call = CutCall(future, partial(join, argument_type=self._type))
        size = int(self._rules.max_rows)
        for start in range(0, rows, size):
            stop = min(start + size, rows)
            part = tuple([self._type.slice(value, start, stop) for value in values])
            call.add(stop - start, part, loop.time(), totals.calls, copy_context())
        for piece in call.pieces:
            dispatcher.add(key, recipe, piece)
        return call

    def leave(self, call: Entry | CutCall) -> None:
        """Take away a call whose caller has been cancelled."""
        loop = call.future.get_loop()
        state = self._states.get(loop)
        if state is None or loop.is_closed():
            return
        state.totals.cancelled += 1
        call.future.cancel()
        call.leave()

    def info(self) -> BatchInfo:
        """Return the figures of the running loop."""
        state = self._states.get(get_running_loop())
        if state is None:
            return BatchInfo(0, 0, 0, 0, 0, 0)
        totals = state.totals
        return BatchInfo(
            totals.calls, totals.rows, totals.batches, totals.waiting_rows, totals.running, totals.cancelled
        )

    async def flush(self) -> None:
        """Send what waits on the running loop, and wait until it is done."""
        state = self._states.get(get_running_loop())
        if state is not None:
            dispatchers = list(state.dispatchers.values())
            futures = {future for dispatcher in dispatchers for future in dispatcher.flush()}
            if futures:
                await wait(futures)

    async def _run(self, recipe: Recipe, entries: list[Entry]) -> tuple[list[Any], dict[int, Exception]]:
        columns = zip(*[entry.values for entry in entries], strict=True)
        args, kwargs = recipe.form.arguments([self._type.join(list(column)) for column in columns], recipe.others)
        result = await self._func(*args, **kwargs)
        return cut(result, [entry.rows for entry in entries], self._type, self._name)

    def _rows(self, form: Form, values: tuple[Any, ...]) -> int:
        """Return the number of rows of all values."""
        rows = [self._type.rows(value) for value in values]
        if len(set(rows)) > 1:
            lengths = ", ".join(f"{name}={length}" for name, length in zip(form.names, rows, strict=True))
            raise ValueError(f"All arguments must have the same length, but got {lengths}")
        if not rows or rows[0] == 0:
            raise ValueError("Function called with empty collections as arguments")
        return rows[0]

    def _misfit(
        self, form: Form, args: tuple[Any, ...], kwargs: dict[str, Any], dispatcher: Dispatcher | None
    ) -> Exception:
        """Return the exception for a call that does not fit the signature."""
        if dispatcher is not None and self._binding.has_group(form):
            # The calls that wait all fit the signature, so this one is unlike them.
            group = self._binding.group(form, args, kwargs)
            if any(waiting == group for waiting, _ in dispatcher.queues):
                return ValueError(INCONSISTENT)
        return TypeError(f"{self._name}(): {form.error}")
