"""A limit for all processes that run this: start it several times, on one machine or on many.

The server is that of the environment variable ``REDIS_URL``.
"""

import asyncio
import os

from dike_limit import SharedLimit, limit_jobs
from redis.asyncio import Redis

client = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))

# The database takes four queries at once, whoever they come from. The others wait for two seconds at most.
database = limit_jobs(
    limit=SharedLimit(4, redis=client, name="database"),
    max_waiting_time=2,
    max_waiting_calls=100,
)


@database
async def query(number: int) -> int:
    """Stand for a query that takes a while."""
    await asyncio.sleep(0.1)
    return number * number


async def main() -> None:
    """Ask for ten things at once."""
    async with client:
        print(sum(await asyncio.gather(*(query(number) for number in range(10)))))


if __name__ == "__main__":
    asyncio.run(main())
