"""Batched inserts into a real database: each caller inserts one row, and a transaction holds many.

A commit waits for the disk, so that one transaction per row is slow. Here each caller still gets an answer of its
own, and gets it only when its row has been committed.
"""

import asyncio
import tempfile
from pathlib import Path

import aiosqlite
from dike import batch


class Events:
    """A table of events in an SQLite file."""

    def __init__(self, database: aiosqlite.Connection) -> None:
        self.database = database

    async def create(self) -> None:
        """Create the table."""
        await self.database.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        await self.database.commit()

    # One at a time: a connection has one transaction. While it is committed, the next batch fills.
    @batch(
        target_batch_size=100,
        max_waiting_time=0.01,
        max_batch_size=500,
        max_concurrent_batches=1,
        dispatch_when_idle=True,
        argument_type="item",
    )
    async def insert(self, names: list[str]) -> list[int]:
        """Insert events, and return the id of each."""
        ids = []
        try:
            for name in names:
                cursor = await self.database.execute("INSERT INTO events (name) VALUES (?)", (name,))
                ids.append(cursor.lastrowid)
            await self.database.commit()
        except BaseException:
            await self.database.rollback()
            raise
        return ids


async def main() -> None:
    """Let a thousand callers insert one event each."""
    with tempfile.TemporaryDirectory() as folder:
        async with aiosqlite.connect(Path(folder) / "events.db") as database:
            events = Events(database)
            await events.create()
            ids = await asyncio.gather(*(events.insert(f"event {number}") for number in range(1000)))
            async with database.execute("SELECT count(*) FROM events") as cursor:
                print("rows in the database:", *await cursor.fetchone())
            print("ids are distinct:", len(set(ids)) == 1000)
            print("transactions:", Events.insert.batch_info().batches)


if __name__ == "__main__":
    asyncio.run(main())
