"""The figures of a batched function; apart, since the rest is imported only when there is one."""

from typing import NamedTuple


class BatchInfo(NamedTuple):
    """What a batched function has done and is doing on the running event loop, all instances of a method together.

    Attributes:
        calls: Calls accepted so far.
        rows: Their rows.
        batches: Batches sent so far.
        waiting_rows: Rows that wait for a batch.
        running_batches: Batches whose function runs.
        cancelled: Calls whose caller was cancelled, while they waited or while their batch ran.
    """

    calls: int
    rows: int
    batches: int
    waiting_rows: int
    running_batches: int
    cancelled: int
