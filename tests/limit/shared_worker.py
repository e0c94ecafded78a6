"""A process of its own under a shared limit: ``python shared_worker.py PORT TASKS SECONDS_PER_JOB CLOCK_ERROR``.

It works until the key ``stop`` is there. Each job counts itself in the key ``running``, puts what it reads there in the
list ``seen``, and the id of its process in the set ``came``.
"""

import asyncio
import os
import sys
import time
from contextlib import suppress

from dike_limit import SharedLimit, TooManyCalls, limit_jobs
from redis.asyncio import Redis


async def main(port: int, tasks: int, seconds_per_job: float) -> None:
    async with Redis(port=port) as client, Redis(port=port) as counter:
        # Closed, so that a machine too busy to answer in time does not let more run than may.
        limit = SharedLimit(4, redis=client, name="workers", lease=2, when_unreachable="closed")

        @limit_jobs(limit=limit, max_waiting_time=60, max_waiting_calls=tasks)
        async def job() -> None:
            await counter.sadd("came", os.getpid())
            await counter.rpush("seen", await counter.incr("running"))
            await asyncio.sleep(seconds_per_job)
            await counter.decr("running")

        async def work() -> None:
            while not await counter.exists("stop"):
                with suppress(TooManyCalls):
                    await job()

        await asyncio.gather(*(work() for _ in range(tasks)))
        assert limit.lost_leases == 0


if __name__ == "__main__":
    port, tasks, seconds_per_job, error = sys.argv[1:]
    if float(error):
        right, right_ns = time.time, time.time_ns
        time.time = lambda: right() + float(error)
        time.time_ns = lambda: right_ns() + int(float(error) * 1e9)
    asyncio.run(main(int(port), int(tasks), float(seconds_per_job)))
