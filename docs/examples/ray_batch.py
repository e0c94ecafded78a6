"""Batches in front of a Ray cluster: many callers in one process, a pool of model workers on many machines.

``batch`` collects the rows of concurrent callers, and each batch goes to a worker that is free. While all workers are
busy, the next batch keeps filling. A worker that dies with its machine fails the batch that it had: ``retry`` sends
the rows of each of those callers again, with whatever batch leaves next, and Ray starts the worker anew elsewhere.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import ray
from dike import batch, retry
from ray.exceptions import RayError

Predict = Callable[[np.ndarray], Awaitable[np.ndarray]]


@ray.remote(num_cpus=1, max_restarts=-1, scheduling_strategy="SPREAD")
class ModelWorker:
    """One copy of the model, in a process of its own on some machine of the cluster."""

    def __init__(self) -> None:
        self.weights = np.random.default_rng(seed=0).normal(scale=0.05, size=(128, 128)).astype(np.float32)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return one figure per row."""
        for _ in range(20):
            rows = np.tanh(rows @ self.weights)
        return rows.sum(axis=1)


def predictor(workers: int, **batching: Any) -> Predict:
    """Start a pool of workers, and return the function that sends rows to it.

    Args:
        workers: How many copies of the model to start.
        **batching: Changes to the options of ``batch``.
    """
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(workers):
        free.put_nowait(ModelWorker.remote())
    options: dict[str, Any] = {
        "target_batch_size": 256,
        "max_waiting_time": 0.005,
        "max_batch_size": 1024,
        "max_concurrent_batches": workers,
        "dispatch_when_idle": True,
        "argument_type": "numpy",
    }

    # Ray needs some seconds to see that a machine is gone, and to start its worker elsewhere.
    @retry(
        exception_types=(RayError, TimeoutError),
        timeout=60,
        delay=0.2,
        backoff=2,
        max_delay=2,
        jitter=0.5,
        log_exception_info=False,
    )
    @batch(**options | batching)
    async def predict(rows: np.ndarray) -> np.ndarray:
        worker = await free.get()
        try:
            return await worker.predict.remote(rows)
        finally:
            free.put_nowait(worker)

    return predict


async def main() -> None:
    """Let a hundred callers ask for one row each."""
    predict = predictor(workers=2)
    rows = np.random.default_rng(seed=1).normal(size=(100, 128)).astype(np.float32)
    answers = await asyncio.gather(*(predict(rows[i : i + 1]) for i in range(100)))
    print(f"{len(answers)} callers got {sum(len(answer) for answer in answers)} rows")


if __name__ == "__main__":
    ray.init()
    asyncio.run(main())
