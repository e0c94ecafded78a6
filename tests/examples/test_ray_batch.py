"""The Ray example on a local cluster of several nodes, one of which dies under load.

Ray is large, so these tests have an environment of their own: ``hatch run examples:test``.
"""

import asyncio
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="needs Ray: hatch run examples:test")

pytestmark = [
    pytest.mark.real_time,
    # Ray's own: unclosed sockets and files, and announcements of its next release.
    pytest.mark.filterwarnings("default"),
]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "ray_batch.py"


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that runs no work, and two nodes with room for two workers each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.nodes = [cluster.add_node(num_cpus=2), cluster.add_node(num_cpus=2)]
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def rows(caller: int) -> np.ndarray:
    """Rows that tell whose they are."""
    return np.full((1 + caller % 3, 128), caller / 1000, dtype=np.float32)


def expected(example: dict[str, Any], callers: int) -> list[np.ndarray]:
    """What each caller gets from the model without Ray and batches."""
    local = example["ModelWorker"].__ray_metadata__.modified_class()
    return [local.predict(rows(caller)) for caller in range(callers)]


async def test_each_caller_gets_its_own_rows(cluster: Any, example: dict[str, Any]) -> None:
    predict = example["predictor"](workers=2)
    answers = await asyncio.gather(*(predict(rows(caller)) for caller in range(200)))
    for answer, right in zip(answers, expected(example, 200), strict=True):
        np.testing.assert_allclose(answer, right, rtol=1e-3, atol=1e-3)


async def test_callers_get_their_rows_though_a_node_dies_under_load(cluster: Any, example: dict[str, Any]) -> None:
    predict = example["predictor"](workers=2, max_batch_size=256, max_processing_time=5)
    await asyncio.gather(*(predict(rows(caller)) for caller in range(100)))
    answered: dict[int, np.ndarray] = {}

    async def client(start: int) -> None:
        for caller in range(start, 1000, 50):
            answered[caller] = await predict(rows(caller))
            await asyncio.sleep(0.1)

    clients = [asyncio.create_task(client(start)) for start in range(50)]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(cluster.remove_node, cluster.nodes[0], allow_graceful=False)
    async with asyncio.timeout(90):
        await asyncio.gather(*clients)
    for caller, right in enumerate(expected(example, 1000)):
        np.testing.assert_allclose(answered[caller], right, rtol=1e-3, atol=1e-3)


async def test_without_retry_a_lost_batch_is_an_error_and_nobody_hangs(cluster: Any, example: dict[str, Any]) -> None:
    predict = example["predictor"](workers=2, max_processing_time=5).__wrapped__
    await predict(rows(0))
    outcomes: list[Any] = []

    async def client() -> None:
        for _ in range(40):
            outcomes.extend(await asyncio.gather(predict(rows(1)), return_exceptions=True))
            await asyncio.sleep(0.05)

    clients = [asyncio.create_task(client()) for _ in range(20)]
    await asyncio.sleep(0.3)
    await asyncio.to_thread(cluster.remove_node, cluster.nodes[0], allow_graceful=False)
    async with asyncio.timeout(90):
        await asyncio.gather(*clients)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert errors
    assert all(isinstance(error, ray.exceptions.RayError | TimeoutError) for error in errors)
    assert len(outcomes) == 800
    assert len(await predict(rows(2))) == len(rows(2))
