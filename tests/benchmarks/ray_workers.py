"""Rows per second of the Ray example with one worker and with two, on a local cluster of two nodes.

Ray is large, so this has an environment of its own: ``hatch run examples:measure``. What it prints is shown on the
docs page about more than one machine.
"""

import asyncio
import runpy
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "ray_batch.py"
ROUNDS = 5
ROWS = 40_000
CALLERS = 64


async def rows_per_second(predict: Any) -> float:
    """Send rows from many callers, each with 10 rows at a time, and return the throughput."""
    rows = np.ones((10, 128), dtype=np.float32)
    await asyncio.gather(*(predict(rows) for _ in range(CALLERS)))

    async def caller() -> None:
        for _ in range(ROWS // CALLERS // len(rows)):
            await predict(rows)

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return ROWS / (time.perf_counter() - begin)


async def main() -> None:
    """Measure both pools in turn, and print the table."""
    example = runpy.run_path(str(EXAMPLE))
    # Batches of 256 rows: small enough that there are always two to be worked on.
    pools = {workers: example["predictor"](workers, max_batch_size=256) for workers in (1, 2)}
    figures: dict[int, list[float]] = {workers: [] for workers in pools}
    for _ in range(ROUNDS):
        for workers, predict in pools.items():
            figures[workers].append(await rows_per_second(predict))
    ratios = [two / one for one, two in zip(figures[1], figures[2], strict=True)]
    print(f"Rows per second, median of {ROUNDS} rounds in turn, on 2 cores (ray {ray.__version__}):")
    for workers, measured in figures.items():
        print(f"  {workers} worker{'s' if workers > 1 else ' '}  {statistics.median(measured):8,.0f}")
    print(f"Ratio of each round: {' '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        asyncio.run(main())
    finally:
        ray.shutdown()
        cluster.shutdown()
