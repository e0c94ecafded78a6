import asyncio

import pytest
from dike_limit import TooManyCalls, limit_jobs


@limit_jobs(limit=1, max_waiting_time=30)
async def work() -> None:
    await asyncio.sleep(3600)


async def test_a_second_call_waits_for_half_a_minute() -> None:
    loop = asyncio.get_running_loop()
    first = asyncio.create_task(work())
    await asyncio.sleep(0)

    with pytest.raises(TooManyCalls):
        await work()
    assert loop.time() == 30

    await first
    assert loop.time() == 3600
