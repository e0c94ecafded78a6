"""The slots and the queue of one key, driven by hand, beside a model that walks through lists."""

import asyncio
import math
from typing import Any

import hypothesis.strategies as st
from dike_limit._slots import Slots
from hypothesis import given, settings
from virtual_clock import VirtualClockLoop


class Limit:
    def __init__(self, value: float) -> None:
        self.value = value


class Model:
    """Waiters in order of arrival, of whom the first that fits in is next."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.in_flight = 0
        self.queue: list[tuple[int, float]] = []
        self.granted: list[int] = []

    def fits(self, share: float) -> bool:
        return self.in_flight + 1 <= self.limit * share + 1e-9

    def hand_over(self) -> None:
        for number, share in list(self.queue):
            if self.fits(share):
                self.queue.remove((number, share))
                self.grant(number)

    def grant(self, number: int) -> None:
        self.in_flight += 1
        self.granted.append(number)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0])),
        st.tuples(st.just("arrive"), st.sampled_from([0.75, 1.0])),
        st.tuples(st.just("end"), st.none()),
        st.tuples(st.sampled_from(["depart", "cancel"]), st.integers(0, 20)),
        st.tuples(st.just("limit"), st.sampled_from([0, 1, 2, 2.5, 3, 4, 8, math.inf])),
    ),
    min_size=30,
    max_size=120,
)


@given(limit=st.integers(0, 4), steps=STEPS)
@settings(max_examples=200, deadline=None)
def test_slots_go_to_the_same_calls_as_in_the_model(limit: int, steps: list[tuple[str, Any]]) -> None:
    loop = VirtualClockLoop()
    number_of_slots = Limit(limit)
    slots = Slots(loop, number_of_slots, max_waiting_time=1, max_waiting_calls=math.inf)
    model = Model(limit)
    futures: dict[int, asyncio.Future[bool]] = {}
    granted: list[int] = []
    ended = departed = 0

    for arrival, (what, value) in enumerate(steps):
        if what == "arrive":
            if slots.try_take(value):
                granted.append(arrival)
            elif slots.has_room():
                futures[arrival] = slots.join(value)
            if model.fits(value):
                model.grant(arrival)
            elif model.limit >= 1:
                model.queue.append((arrival, value))
        elif what == "end" and model.in_flight:
            ended += 1
            slots.leave()
            model.in_flight -= 1
            model.hand_over()
        elif what in ("depart", "cancel") and model.queue:
            departing = model.queue.pop(value % len(model.queue))[0]
            departed += 1
            if what == "cancel":
                # The task of a cancelled future runs later, and meanwhile the future is dead.
                futures[departing].cancel()
                slots.leave() if model.in_flight else None
                model.in_flight -= bool(model.in_flight)
                model.hand_over()
            slots.depart(futures[departing])
        elif what == "limit":
            number_of_slots.value = model.limit = value
            slots.look()
            model.hand_over()
        granted += [
            number
            for number, future in futures.items()
            if future.done() and not future.cancelled() and number not in granted
        ]
        assert sorted(granted) == sorted(model.granted)
        assert (slots.in_flight, slots.waiting) == (model.in_flight, len(model.queue))
        assert sum(map(len, slots._lanes.values())) <= 2 * slots.waiting + 1
        assert (slots._timer is not None) == bool(model.queue)
    loop.close()
