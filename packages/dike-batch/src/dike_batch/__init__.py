"""Mini-batches for asyncio: concurrent calls with lists or numpy arrays become one."""

from dike_batch._argument_type import ArgumentType
from dike_batch._batch import batch
from dike_batch._batch_info import BatchInfo

__all__ = ["ArgumentType", "BatchInfo", "batch"]

for _public in (ArgumentType, BatchInfo, batch):
    _public.__module__ = __name__
del _public
