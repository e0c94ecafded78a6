"""A batched function: its calls become entries, and its batches calls of the function."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop, wait
from collections.abc import Hashable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any

from dike_batch._batch_info import BatchInfo
from dike_batch._binding import Binding, Form, Marker
from dike_batch._containers import Container
from dike_batch._decorating import named
from dike_batch._dispatcher import Dispatcher, LoopState, Outcome, Rules
from dike_batch._loops import PerLoop
from dike_batch._queues import CutCall, Entry, Queue
from dike_batch._results import cut, join

INCONSISTENT = "Inconsistent use of positional and keyword arguments"


class Recipe:
    """What the calls of a queue have in common, and how their batches are passed to the function.

    Args:
        form: The way they pass arguments.
        group: The values of the `group_by` arguments.
        kinds: The kinds of the batched arguments.
        others: The arguments that are passed through.
    """

    __slots__ = ("form", "group", "kinds", "others")

    def __init__(self, form: Form, group: tuple[Any, ...], kinds: Any, others: Mapping[Marker, Any]) -> None:
        self.form = form
        self.group = group
        self.kinds = kinds
        self.others = others

    def rivals(self, other: Recipe) -> bool:
        """Whether the calls of both would share a queue if they passed their arguments alike."""
        other_kinds = other.kinds_by_name()
        return (
            self.form.pattern != other.form.pattern
            and self.group == other.group
            and all(other_kinds.get(name, kind) == kind for name, kind in self.kinds_by_name().items())
        )

    def kinds_by_name(self) -> dict[str, Hashable]:
        """Return the kinds of the batched arguments by their names."""
        kinds = self.kinds if len(self.form.names) > 1 else (self.kinds,)
        return dict(zip(self.form.names, kinds, strict=True))


class Batcher:
    """Makes entries of the calls of one function, and calls of the function of their batches."""

    def __init__(self, func: Any, rules: Rules, container: Container, group_by: tuple[str, ...]) -> None:
        self._func = func
        self._name: str = named(func).__name__
        self._rules = rules
        self._max_rows = rules.max_rows
        self._container = container
        self._take = container.take
        self._binding = Binding(func, self._name, group_by)
        # Only then calls that pass unlike arguments could be of unlike kinds, too, and miss each other's queue.
        self._may_have_rivals = self._binding.has_optional and container.has_kinds
        self._states: PerLoop[LoopState] = PerLoop(LoopState)
        # Where the last call went, if the next one probably goes there too: it saves looking for the place.
        self._latest: Queue | None = None

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Entry | CutCall:
        """Let a call wait for its batch; the result comes to the future of what is returned.

        Raises:
            TypeError: The call does not fit the signature, an argument is no container, or one of `group_by` no key.
            ValueError: The arguments have no rows, or not equally many, or are passed in another way than those of the
                calls that wait.
        """
        loop = get_running_loop()
        queue = self._latest
        if queue is None or queue.loop is not loop or not queue.rows or kwargs or len(args) != 1:
            queue, rows, values = self._find(loop, args, kwargs)
        else:
            rows, values, kinds = self._take(args[0])
            if kinds != queue.key or not rows:
                queue, rows, values = self._find(loop, (values,), kwargs)
        dispatcher = queue.dispatcher
        state = dispatcher.state
        # A class that is called with so many arguments takes longer than all the rest.
        entry = Entry()
        entry.future = loop.create_future()
        entry.rows = rows
        entry.values = values
        entry.arrival = loop.time()
        entry.order = order = state.calls + 1
        entry.context = copy_context()
        if rows == 1 or rows <= self._max_rows:  # 1 is the usual number, and quickly compared
            state.calls = order
            dispatcher.add(queue, entry)
            return entry
        call = self._cut(entry, queue.recipe.form)
        state.calls = order
        dispatcher.add_all(queue, call.pieces)
        return call

    def _find(self, loop: AbstractEventLoop, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Queue, int, Any]:
        """Return the queue where a call belongs, the number of its rows, and copies of its batched arguments."""
        state = self._states[loop]
        form = self._binding.form(len(args), kwargs)
        instance = None if form.instance is None else form.get(form.instance, args, kwargs)
        dispatcher = state.dispatchers.get(id(instance))
        if form.error is not None:
            raise self._misfit(form, args, kwargs, dispatcher)
        rows, values, kinds = self._take_all(form, args, kwargs)
        if not rows:
            raise ValueError("Function called with empty collections as arguments")
        group = self._binding.group(form, args, kwargs)
        key = (group, kinds) if group else kinds
        if dispatcher is None:
            # Here too, for loops that take turns: none of them is new, so none would make the others go.
            self._states.drop_closed()
            dispatcher = Dispatcher(loop, state, instance, self._rules, self._run, f"a batch of {self._name}()")
        queue = dispatcher.queues.get(key)
        if queue is None:
            others = {marker: form.get(marker, args, kwargs) for marker in form.others}
            recipe = Recipe(form, group, kinds, others)
            if self._may_have_rivals and any(other.recipe.rivals(recipe) for other in dispatcher.queues.values()):
                raise ValueError(INCONSISTENT)
            queue = Queue(dispatcher, key, recipe)
        elif queue.recipe.form is not form and queue.recipe.form.pattern != form.pattern:
            raise ValueError(INCONSISTENT)
        self._latest = queue if form.is_simple else None
        return queue, rows, values

    def leave(self, call: Entry | CutCall) -> None:
        """Take away a call whose caller has been cancelled."""
        loop = call.future.get_loop()
        state = self._states.get(loop)
        if state is not None and not loop.is_closed():
            state.cancelled += 1
            call.future.cancel()
            call.leave()

    def batch_info(self) -> BatchInfo:
        """Return the figures of the running event loop, all instances of a method together.

        Raises:
            RuntimeError: No event loop is running.
        """
        state = self._states.get(get_running_loop())
        if state is None:
            return BatchInfo(0, 0, 0, 0, 0, 0)
        waiting = sum(dispatcher.waiting_rows() for dispatcher in state.dispatchers.values())
        rows = state.rows + waiting
        return BatchInfo(state.calls, rows, state.batches, waiting, state.running, state.cancelled)

    async def flush(self) -> None:
        """Send what waits now, as soon as `max_concurrent_batches` allows it, and return when it is done.

        Exceptions go to the callers only. Cancelling this cancels nothing else.
        """
        state = self._states.get(get_running_loop())
        if state is not None:
            futures = {future for dispatcher in [*state.dispatchers.values()] for future in dispatcher.flush()}
            if futures:
                await wait(futures)

    async def _run(self, recipe: Recipe, entries: list[Entry]) -> Outcome:
        """Call the function for a batch."""
        merge = self._container.merge
        if recipe.form.single is not None:
            values = [merge([entry.values for entry in entries])]
        else:
            values = [merge(list(column)) for column in zip(*[entry.values for entry in entries], strict=True)]
        args, kwargs = recipe.form.arguments(values, recipe.others)
        result = await self._func(*args, **kwargs)
        return cut(result, [entry.rows for entry in entries], self._container, self._name)

    def _take_all(self, form: Form, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, Any, Any]:
        """Return the number of rows of the batched arguments, copies of them, and their kinds."""
        if form.single is not None:
            return self._take(args[form.single])
        if not form.markers:
            return 0, (), None
        taken = [self._take(form.get(marker, args, kwargs)) for marker in form.markers]
        columns: list[tuple[Any, ...]] = list(zip(*taken, strict=True))
        lengths, values, kinds = columns
        if len(set(lengths)) > 1:
            got = ", ".join(f"{name}={rows}" for name, rows in zip(form.names, lengths, strict=True))
            raise ValueError(f"All arguments must have the same length, but got {got}")
        if not self._container.has_kinds:
            return lengths[0], values, None
        # The kind of a single argument is the same whether it was passed by position or by name.
        return lengths[0], values, kinds if len(form.names) > 1 else kinds[0]

    def _misfit(
        self, form: Form, args: tuple[Any, ...], kwargs: dict[str, Any], dispatcher: Dispatcher | None
    ) -> Exception:
        """Return the exception for a call that does not fit the signature."""
        if dispatcher is not None and self._binding.has_group(form):
            # The calls that wait fit the signature, so they are of another form.
            group = self._binding.group(form, args, kwargs)
            if any(queue.recipe.group == group for queue in dispatcher.queues.values()):
                return ValueError(INCONSISTENT)
        return TypeError(f"{self._name}(): {form.error}")

    def _cut(self, entry: Entry, form: Form) -> CutCall:
        """Cut the entry of a call that is larger than a batch may be."""
        cut = self._container.cut

        def cut_all(values: tuple[Any, ...], start: int, stop: int) -> tuple[Any, ...]:
            return tuple([cut(value, start, stop) for value in values])

        cut_values = cut if form.single is not None else cut_all
        return CutCall(entry, int(self._max_rows), cut_values, partial(join, container=self._container))
