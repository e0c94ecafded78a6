"""A batched function: its calls become entries, and its batches calls of the function."""

from asyncio import AbstractEventLoop, get_running_loop, wait
from collections.abc import Hashable, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple

from dike_batch._binding import Binding, Form, Marker
from dike_batch._containers import Container
from dike_batch._dispatcher import Dispatcher, Outcome, Rules
from dike_batch._functions import named
from dike_batch._loops import PerLoop
from dike_batch._pieces import CutCall
from dike_batch._queues import Entry, Totals
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


class Recipe:
    """What the calls of a queue have in common, and how their batches are passed to the function.

    Args:
        form: The way they pass arguments.
        group: The values of the `group_by` arguments.
        kinds: The kinds of the batched arguments, by their names.
        others: The arguments that are passed through.
    """

    __slots__ = ("form", "group", "kinds", "others")

    def __init__(
        self, form: Form, group: tuple[Any, ...], kinds: Mapping[str, Hashable], others: Mapping[Marker, Any]
    ) -> None:
        self.form = form
        self.group = group
        self.kinds = kinds
        self.others = others


class LoopState:
    """What belongs to one event loop."""

    __slots__ = ("dispatchers", "totals")

    def __init__(self) -> None:
        self.totals = Totals()
        # By the identity of the instance, which its dispatcher keeps alive, and only as long as there are calls.
        self.dispatchers: dict[int | None, Dispatcher] = {}


class Batcher:
    """Makes entries of the calls of one function, and calls of the function of their batches."""

    def __init__(self, func: Any, rules: Rules, container: Container, group_by: tuple[str, ...]) -> None:
        self._func = func
        self._name: str = named(func).__name__
        self._rules = rules
        self._max_rows = rules.max_rows
        self._container = container
        self._take = container.take
        self._is_grouped = bool(group_by)
        self._binding = Binding(func, self._name, group_by)
        self._forms = self._binding.forms
        # Only then calls that pass unlike arguments could be of unlike kinds, too, and miss each other's queue.
        self._may_have_rivals = self._binding.has_optional and container.has_kinds
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
        form = None if kwargs else self._forms.get(len(args))
        if form is None:
            form = self._binding.form(len(args), kwargs)
        instance = None if form.instance is None else form.get(form.instance, args, kwargs)
        dispatcher = state.dispatchers.get(id(instance))
        if form.error is not None:
            raise self._misfit(form, args, kwargs, dispatcher)
        if form.single is not None:
            rows, values, kinds = self._take(args[form.single])
        else:
            rows, values, kinds = self._take_all(form, [form.get(marker, args, kwargs) for marker in form.markers])
        if not rows:
            raise ValueError("Function called with empty collections as arguments")
        key = (self._binding.group(form, args, kwargs), kinds) if self._is_grouped else kinds
        queue = None if dispatcher is None else dispatcher.queues.get(key)
        if queue is not None and queue.recipe.form is not form and queue.recipe.form.pattern != form.pattern:
            raise ValueError(INCONSISTENT)
        recipe = None
        if queue is None:
            recipe = self._recipe(form, args, kwargs, kinds)
            if self._may_have_rivals and dispatcher is not None and has_rival(recipe, dispatcher):
                raise ValueError(INCONSISTENT)
        entry = Entry()
        # Not arguments: a class that is called with so many takes longer than all the rest.
        entry.future = loop.create_future()
        entry.rows = rows
        entry.values = values
        entry.arrival = loop.time()
        entry.order = state.totals.calls + 1
        entry.context = copy_context()
        cut = None if rows <= self._max_rows else self._cut(entry, form)
        # From here on nothing can fail.
        if dispatcher is None:
            dispatcher = self._open_dispatcher(loop, state, instance)
        if queue is None:
            queue = dispatcher.open(key, recipe)
        state.totals.calls += 1
        if cut is None:
            dispatcher.add(queue, entry)
            return entry
        dispatcher.add(queue, cut.pieces[0], cut.pieces[1:])
        return cut

    def leave(self, call: Entry | CutCall) -> None:
        """Take away a call whose caller has been cancelled."""
        loop = call.future.get_loop()
        state = self._states.get(loop)
        if state is not None and not loop.is_closed():
            state.totals.cancelled += 1
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
        totals = state.totals
        waiting = sum(dispatcher.waiting_rows() for dispatcher in state.dispatchers.values())
        rows = totals.rows + waiting
        return BatchInfo(totals.calls, rows, totals.batches, waiting, totals.running, totals.cancelled)

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

    def _open_dispatcher(self, loop: AbstractEventLoop, state: LoopState, instance: Any) -> Dispatcher:
        # Here too, for loops that take turns: none of them is new, so none would make the others go.
        self._states.drop_closed()

        def forget() -> None:
            state.dispatchers.pop(id(instance), None)

        dispatcher = Dispatcher(
            loop, self._rules, state.totals, run=self._run, name=f"a batch of {self._name}()", on_empty=forget
        )
        state.dispatchers[id(instance)] = dispatcher
        return dispatcher

    def _recipe(self, form: Form, args: tuple[Any, ...], kwargs: dict[str, Any], kinds: Any) -> Recipe:
        by_name: dict[str, Hashable] = {}
        if self._container.has_kinds:
            by_name.update(zip(form.names, kinds if len(form.names) > 1 else [kinds], strict=True))
        group = self._binding.group(form, args, kwargs)
        return Recipe(form, group, by_name, {marker: form.get(marker, args, kwargs) for marker in form.others})

    def _take_all(self, form: Form, arguments: list[Any]) -> tuple[int, tuple[Any, ...], Hashable]:
        """Return what `take` does, for several arguments: their number of rows, copies of them, and their kinds."""
        if not arguments:
            return 0, (), None
        lengths, values, kinds = zip(*map(self._take, arguments), strict=True)
        if len(set(lengths)) > 1:
            got = ", ".join(f"{name}={rows}" for name, rows in zip(form.names, lengths, strict=True))
            raise ValueError(f"All arguments must have the same length, but got {got}")
        if not self._container.has_kinds:
            return lengths[0], values, None
        # The kind of a single argument is the same whether it was passed by position or by name.
        return lengths[0], values, kinds if len(kinds) > 1 else kinds[0]

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


def has_rival(recipe: Recipe, dispatcher: Dispatcher) -> bool:
    """Whether calls wait that would share a queue with those of `recipe` if they passed their arguments alike."""
    others: list[Recipe] = [queue.recipe for queue in dispatcher.queues.values()]
    return any(
        other.form.pattern != recipe.form.pattern
        and other.group == recipe.group
        and all(other.kinds.get(name, kind) == kind for name, kind in recipe.kinds.items())
        for other in others
    )
