"""The virtual clock that all other tests stand on."""

import asyncio

import pytest
import virtual_clock


async def test_a_long_sleep_takes_no_real_time_and_its_exact_virtual_time() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.sleep(1e6)
    assert loop.time() - start == pytest.approx(1e6, rel=1e-12)


async def test_timers_fire_in_order_of_time() -> None:
    fired: list[int] = []

    async def sleeper(seconds: int) -> None:
        await asyncio.sleep(seconds)
        fired.append(seconds)

    await asyncio.gather(*(sleeper(s) for s in (3, 1, 2)))
    assert fired == [1, 2, 3]


def test_a_deadlock_is_an_error_instead_of_a_hang() -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(virtual_clock.DeadlockError):
        virtual_clock.run(hang())


@pytest.mark.real_time
async def test_a_test_may_ask_for_the_real_clock() -> None:
    assert await asyncio.to_thread(lambda: 1) == 1
