from collections.abc import Iterator

import pytest
from dike_retry import no_delay, retry


@pytest.fixture(autouse=True)
def retry_at_once() -> Iterator[None]:
    with no_delay():
        yield


calls = 0


@retry(attempts=5, delay=3600)
async def fetch() -> str:
    global calls
    calls += 1
    if calls < 5:
        raise ConnectionError("down")
    return "hello"


@pytest.mark.real_time  # on a clock that does not jump
async def test_the_fifth_attempt_succeeds_and_nobody_waits_for_hours() -> None:
    assert await fetch() == "hello"
