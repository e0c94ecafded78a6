"""The exception carries what a handler needs, and travels between processes."""

import copy
import inspect
import pickle
from typing import Any

import pytest
from dike_limit import TooManyCalls, limit_jobs
from limit.jobs import Jobs

ATTRIBUTES = ["function", "limit", "in_flight", "waiting", "key", "retry_after"]


def test_all_attributes_are_optional_keywords() -> None:
    error = TooManyCalls("text")
    assert str(error) == "text"
    assert [getattr(error, name) for name in ATTRIBUTES] == [None] * 6
    assert TooManyCalls().args == ()
    parameters = inspect.signature(TooManyCalls).parameters
    assert [name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY] == ATTRIBUTES
    error = TooManyCalls("text", **{name: name for name in ATTRIBUTES})  # type: ignore[arg-type]
    assert [getattr(error, name) for name in ATTRIBUTES] == ATTRIBUTES


@pytest.mark.parametrize("options", [{}, {"max_waiting_time": 5, "max_waiting_calls": 1}, {"share": lambda name: 1}])
async def test_a_refused_call_tells_what_it_met(options: Any) -> None:
    jobs = Jobs(limit_jobs(limit=2.5, **options))
    await jobs.start(1, 2, 3, 4)
    error = jobs.tasks[4].exception()
    assert isinstance(error, TooManyCalls)
    assert error.function == "Jobs.__init__.<locals>.job"
    assert error.limit == 2.5
    assert error.in_flight == 2
    assert type(error.in_flight) is type(error.waiting) is int
    assert error.waiting == (1 if "max_waiting_time" in options else 0)
    assert error.key is None
    assert error.retry_after is None
    await jobs.end_all()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_it_pickles_with_its_attributes_and_notes(protocol: int) -> None:
    jobs = Jobs(limit_jobs(limit=1, key=lambda name: "tenant"))
    await jobs.start(1, 2)
    error: Any = jobs.tasks[2].exception()
    error.add_note("a note")
    twin = pickle.loads(pickle.dumps(error, protocol))
    assert type(twin) is TooManyCalls
    assert (twin.args, twin.__notes__) == (error.args, ["a note"])
    assert [getattr(twin, name) for name in ATTRIBUTES] == [getattr(error, name) for name in ATTRIBUTES]
    assert twin.key == "tenant"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_it_can_be_copied(copied: Any) -> None:
    error = TooManyCalls("text", key=("a", 1), retry_after=1.5)
    twin = copied(error)
    assert (type(twin), str(twin), twin.key, twin.retry_after) == (TooManyCalls, "text", ("a", 1), 1.5)


def test_a_subclass_pickles_too() -> None:
    twin = pickle.loads(pickle.dumps(Busy("text", limit=3)))
    assert (type(twin), str(twin), twin.limit) == (Busy, "text", 3)


class Busy(TooManyCalls):
    pass
