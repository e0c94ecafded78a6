"""The names of the sorted sets: equal keys meet, others never do, in whichever process."""

import enum
import subprocess
import sys
import uuid
from typing import Any

import pytest
from dike_limit._shared_keys import sorted_set
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# On a busy machine an example may take long.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shade(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.sampled_from([*Colour, *Shade, *Level, *Word])
)
KEYS = st.recursive(
    ATOMS, lambda keys: st.lists(keys, max_size=3).map(tuple) | st.frozensets(keys, max_size=3), max_leaves=6
)


@patient
@given(KEYS, KEYS)
def test_keys_meet_if_and_only_if_they_are_equal(one: Any, other: Any) -> None:
    assert (sorted_set("name", (one,)) == sorted_set("name", (other,))) == (one == other)


@patient
@given(st.text(), ATOMS, st.text(), ATOMS)
def test_names_and_keys_do_not_run_into_each_other(name: str, key: Any, other: str, other_key: Any) -> None:
    same = name == other and key == other_key
    assert (sorted_set(name, key) == sorted_set(other, other_key)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1, b"1"),
        ("1", b"1"),
        ("None", (None,)),
        (("a", "b"), ("ab",)),
        (("a:b", "c"), ("a", "b:c")),
        ((1, (2,)), ((1, 2),)),
        ((1,), frozenset([1])),
        (1.5, "1.5"),
        (12, (1, 2)),
        (Colour.RED, Shade.RED),
        (Colour.RED, "red"),
        (uuid.UUID(int=1), uuid.UUID(int=1).bytes),
        (float("inf"), "inf"),
        ("\ud800", "?"),
    ],
)
def test_keys_that_look_alike_do_not_meet(one: Any, other: Any) -> None:
    assert sorted_set("name", one) != sorted_set("name", other)


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (0.0, -0.0), (Level.LOW, 1), (Word.YES, "yes"), (2**70, 2.0**70)]
)
def test_keys_that_are_equal_as_keys_of_a_dict_meet(one: Any, other: Any) -> None:
    assert sorted_set("name", one) == sorted_set("name", other)


def test_a_name_is_readable_in_redis() -> None:
    assert sorted_set("orders") == b"dike:6:orders"
    assert sorted_set("orders", ("ann", 255)) == b"dike:6:orders:t2:s3:anniff;"


@pytest.mark.parametrize("key", [object(), (1, object()), frozenset([1j]), range(3), int])
def test_what_other_processes_may_write_differently_is_refused(key: Any) -> None:
    with pytest.raises(TypeError, match="a key must be made of str, bytes"):
        sorted_set("name", key)


def test_another_process_writes_the_same_whatever_its_hash_seed() -> None:
    code = (
        "from dike_limit._shared_keys import sorted_set;"
        "print(sorted_set('name', (frozenset('abcdefgh'), 'x', b'y', 1.5, None)))"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(written) == 1
