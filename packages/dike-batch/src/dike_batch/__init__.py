"""Mini-batches for asyncio: concurrent calls with lists or numpy arrays become one."""

from dike_batch._batch import batch
from dike_batch._batcher import BatchInfo
from dike_batch._containers import ArgumentType

__all__ = ["ArgumentType", "BatchInfo", "batch"]

for _public in (ArgumentType, BatchInfo, batch):
    _public.__module__ = __name__
del _public
