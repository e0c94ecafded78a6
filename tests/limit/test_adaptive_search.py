"""The search behind AdaptiveLimit, by itself and in front of a simulated service."""

import itertools
import math
from collections.abc import Iterator

import pytest
import virtual_clock
from benchmarks import overload
from benchmarks.overload import Phase
from dike_limit._adaptive_search import Search, Window
from hypothesis import given, settings
from hypothesis import strategies as st


class Rounds:
    """Calls in rounds: as many as the limit allows begin together, and end together."""

    def __init__(self, search: Search, now: float = 0.0) -> None:
        self.search = search
        self.now = now

    def play(self, seconds: float, latency: float, *, workers: float = math.inf, callers: float = math.inf) -> None:
        """Let calls that take `latency`, longer if there are more than `workers`, end for so many seconds."""
        end = self.now + seconds
        while self.now < end:
            calls = int(min(self.search.value, callers))
            taken = latency * max(1.0, calls / workers)
            self.now += taken
            for left in range(calls, 0, -1):
                self.search.measure(left, self.now, taken, False)


ENDINGS = st.lists(
    st.tuples(
        st.sampled_from(["measure", "drop", "ignore"]),
        st.floats(0, 10),
        st.floats(0, 1e6) | st.just(0.0),
        st.integers(1, 2000),
        st.integers(1, 60),
    ),
    max_size=60,
)


def play_anything(search: Search, endings: list[tuple[str, float, float, int, int]]) -> Iterator[float]:
    """Tell the search of calls that end anyhow, and yield the time after each lot."""
    now = 0.0
    yield now
    for kind, gap, latency, in_flight, count in endings:
        for _ in range(count):
            now += gap
            if kind == "ignore":
                search.ignore(in_flight)
            else:
                search.measure(in_flight, now, latency, kind == "drop")
        yield now


@settings(deadline=None)
@given(ENDINGS, st.integers(1, 50), st.integers(0, 50), st.integers(0, 1000) | st.just(math.inf))
def test_the_limit_stays_between_its_bounds_whatever_happens(
    endings: list[tuple[str, float, float, int, int]], lowest: float, more: float, range_: float
) -> None:
    search = Search(0.0, lowest + min(more, range_), lowest, lowest + range_)
    for _ in play_anything(search, endings):
        assert lowest <= search.value <= lowest + range_
        assert search.value < math.inf


@settings(max_examples=50, deadline=None)
@given(ENDINGS, st.sampled_from([0.03, 0.3, 3.0]), st.integers(1, 5))
def test_the_limit_never_stays_low_in_front_of_a_healthy_service(
    endings: list[tuple[str, float, float, int, int]], latency: float, lowest: int
) -> None:
    search = Search(0.0, 20, lowest, 1000)
    *_, now = play_anything(search, endings)
    # As many calls as it takes until those that began before have ended, and then two minutes of load.
    for _ in range(2000):
        search.ignore(1)
    Rounds(search, now).play(max(60, 200 * latency), latency, callers=60)
    assert search.value >= 60


@pytest.mark.parametrize("workers", [1, 2, 5, 20, 200])
@pytest.mark.parametrize("initial", [1, 20, 100])
def test_the_limit_settles_a_little_above_the_number_of_workers(workers: int, initial: int) -> None:
    search = Search(0.0, initial, 1, 1000)
    rounds = Rounds(search)
    rounds.play(300, 0.05, workers=workers)
    seen = []
    for _ in range(60):
        rounds.play(1, 0.05, workers=workers)
        seen.append(search.value)
    seen.sort()
    # But for some trials.
    assert workers <= seen[6]
    assert seen[-6] <= 1.5 * workers + 15


def test_the_limit_follows_when_the_service_gets_a_hundred_times_the_workers() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(60, 0.05, workers=20)
    assert rounds.search.value < 40
    rounds.play(30, 0.05, workers=2000)
    assert rounds.search.value == 1000


def test_a_service_that_gets_slower_keeps_its_limit() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(60, 0.05, workers=20)
    rounds.play(15, 0.2, workers=20)
    assert rounds.search.value >= 20


def test_a_cut_that_was_not_worth_it_is_taken_back_at_once() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(60, 0.05, workers=20)
    low = 0
    for _ in range(15):
        rounds.play(1, 0.2, workers=20)
        low += rounds.search.value < 20
    assert 1 <= low <= 4


def test_one_bad_second_does_not_lower_the_limit() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(60, 0.05, workers=20)
    assert rounds.search.value == 25
    rounds.play(1.1, 0.5, workers=20)
    for _ in range(5):
        rounds.play(0.1, 0.05, workers=20)
        assert rounds.search.value == 25


def test_a_limit_that_keeps_rising_rises_quickly_though_some_calls_seem_to_queue() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(5, 0.045, callers=9)
    rounds.play(30, 0.05)
    assert rounds.search.value == 1000


def test_a_limit_that_is_too_high_falls_although_it_is_not_used_up() -> None:
    rounds = Rounds(Search(0.0, 200, 1, 1000))
    rounds.play(5, 0.05, workers=20, callers=20)
    rounds.play(20, 0.05, workers=20, callers=100)
    assert rounds.search.value < 100


def test_after_the_service_has_got_quicker_the_first_trial_is_one_below() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(60, 0.2, workers=20)
    limits = []
    for _ in range(20):
        rounds.play(0.5, 0.05, workers=20)
        limits.append(rounds.search.value)
    assert min(limits) < 20


def test_a_service_that_loses_workers_gets_a_lower_limit() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(60, 0.05, workers=20)
    rounds.play(15, 0.05, workers=5)
    assert rounds.search.value <= 15


def test_a_start_under_overload_is_found_out() -> None:
    rounds = Rounds(Search(0.0, 100, 1, 1000))
    rounds.play(60, 0.05, workers=20)
    assert rounds.search.value <= 32


def test_a_limit_of_which_little_is_used_stays_when_the_service_gets_slower() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(10, 0.05, callers=3)
    rounds.play(10, 0.5, callers=3)
    assert rounds.search.value == 20


def test_a_limit_that_is_not_used_up_is_held_without_trials() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(5, 0.05, workers=9, callers=9)
    rounds.play(5, 0.05, workers=9, callers=14)
    for _ in range(100):
        rounds.play(1, 0.05, workers=9, callers=14)
        assert rounds.search.value == 25


def test_trials_that_agree_get_rarer_but_never_end() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    limits = []
    for _ in range(160):
        rounds.play(1, 0.05, workers=20)
        limits.append(rounds.search.value)
    assert set(limits) == {25, 12, 38}
    higher = [i for i in range(160) if limits[i] == 38 != limits[i - 1]]
    gaps = [later - sooner for sooner, later in itertools.pairwise(higher)]
    assert gaps[:3] == [9, 17, 33]
    assert gaps[3] >= 64
    lower = [i for i in range(160) if limits[i] == 12]
    assert len(lower) == 2
    assert lower[0] < higher[0]
    assert lower[1] > higher[4]


def test_a_higher_limit_that_proves_right_in_a_trial_is_kept() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    while rounds.search.value != 38 and rounds.now < 600:
        rounds.play(0.1, 0.05, workers=20)
    for _ in range(30):
        rounds.play(0.1, 0.05, workers=100)
        assert rounds.search.value >= 38


def test_a_trial_during_which_the_load_goes_is_taken_back() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    while rounds.search._trial != "up" and rounds.now < 600:
        rounds.play(0.05, 0.05, workers=20)
    assert rounds.now < 600
    before = rounds.search._limit_before
    assert rounds.search.value > before
    rounds.play(1.5, 0.05, callers=2)
    assert rounds.search.value == before


def test_calls_that_began_before_a_change_are_waited_for_also_if_they_tell_nothing() -> None:
    search = Search(0.0, 20, 1, 1000)
    for number in range(20):
        search.measure(3, 1.0 + number, 1.0, True)
    assert (search.value, search._stale) == (10, 3)
    for _ in range(3):
        search.ignore(3)
    assert search._stale == 0


def test_calls_that_began_before_a_change_are_not_measured() -> None:
    search = Search(0.0, 20, 1, 1000)
    for i in range(20):
        search.measure(20, 1.0 + i, 0.05, False)
    assert search.value == 25
    for i in range(20):
        search.measure(25, 30.0 + i, 1000.0, False)
    for i in range(20):
        search.measure(25, 50.0 + i, 0.05, False)
    assert search.value == 31


def test_time_outs_of_all_calls_halve_the_limit_each_second() -> None:
    search = Search(0.0, 64, 1, 1000)
    now = 0.0
    seen = []
    for _ in range(12):
        now += 1
        for left in range(64, 0, -1):
            search.measure(left, now, 1.0, True)
        seen.append(search.value)
    assert seen[0] == 32
    assert seen[-1] == 1


def test_no_more_than_half_of_the_calls_are_ever_taken_for_normal_drops() -> None:
    search = Search(0.0, 100, 1, 1000)
    for i in range(8000):
        # A few succeed at first, as quickly under any limit.
        search.measure(100, i / 100, 1.0, i % 33 > 0 or i > 4000)
    assert search.value == 1


def test_three_time_outs_among_twenty_calls_prove_nothing() -> None:
    search = Search(0.0, 20, 1, 1000)
    for i in range(400):
        search.measure(20, i / 20, 1.0, i % 40 in (1, 2, 3))
        assert search.value >= 20


def test_the_few_that_escape_a_time_out_do_not_tell_how_quick_the_service_is() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    rounds.play(60, 0.05, workers=20)
    for i in range(200):
        rounds.now += 0.05
        rounds.search.measure(20, rounds.now, *((0.001, False) if i % 10 == 0 else (1.0, True)))
    limits = [rounds.search.value]
    for _ in range(8):
        rounds.play(1, 0.05, workers=20)
        limits.append(rounds.search.value)
    assert limits[0] < 10
    assert limits == sorted(limits)
    assert limits[-1] >= 20


def test_a_higher_limit_that_leads_to_time_outs_is_taken_back() -> None:
    rounds = Rounds(Search(0.0, 20, 1, 1000))
    while rounds.search.value != 38 and rounds.now < 600:
        rounds.play(0.1, 0.05, workers=20)
    while rounds.search.value == 38 and rounds.now < 600:
        rounds.now += 0.05
        rounds.search.measure(38, rounds.now, 38 * 0.05, True)
    assert rounds.search.value == 25


def test_a_window_knows_the_error_of_its_mean() -> None:
    window = Window(0.0)
    for latency in (1.0, 3.0) * 50:
        window.add(latency, False)
    assert window.latency == 2.0
    assert window.error == pytest.approx(0.1)


def test_a_window_of_drops_only_has_no_latency() -> None:
    window = Window(0.0)
    window.add(1.0, True)
    assert (window.latency, window.error, window.drop_share) == (0.0, 0.0, 1.0)


# The service of the benchmark, for a shorter time: the real decorator under random load.
PHASES = [
    Phase("2x", 15, 2),
    Phase("4x slower", 40, 2, mean=0.2),
    Phase("as before", 15, 2),
]


def goodput(seed: int) -> list[float]:
    """Return the goodput of each phase, as a share of the capacity."""
    seconds = virtual_clock.run(overload.play(overload.dike, PHASES, seed))
    shares = []
    for phase in PHASES:
        part, seconds = seconds[: phase.seconds], seconds[phase.seconds :]
        shares.append(sum(second.good for second in part) / phase.seconds / phase.capacity)
    return shares


@pytest.mark.parametrize("seed", [1, 2])
def test_under_overload_the_service_does_nearly_all_it_can_also_when_it_gets_slower(seed: int) -> None:
    fast, slow, fast_again = goodput(seed)
    assert fast >= 0.95
    assert slow >= 0.85
    assert fast_again >= 0.92


def test_without_trials_it_would_do_little_once_it_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Search, "_begin_trial", lambda self, trial, limit, seen: min(limit, self.value))
    fast, slow, _ = goodput(1)
    assert fast >= 0.9
    assert slow < 0.7
