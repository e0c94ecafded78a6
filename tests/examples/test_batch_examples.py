"""The examples of batch in docs/examples run, and print what they should."""

import asyncio
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
pytestmark = pytest.mark.real_time


def run_as_main(name: str) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_sqlite_inserts_share_transactions(capsys: pytest.CaptureFixture[str]) -> None:
    run_as_main("sqlite_inserts.py")
    rows, distinct, transactions = capsys.readouterr().out.splitlines()
    assert rows == "rows in the database: 1000"
    assert distinct == "ids are distinct: True"
    assert int(transactions.removeprefix("transactions: ")) < 100


async def test_a_failed_insert_fails_its_batch_and_leaves_no_row_behind() -> None:
    import aiosqlite

    example = runpy.run_path(str(EXAMPLES / "sqlite_inserts.py"))
    async with aiosqlite.connect(":memory:") as database:
        events = example["Events"](database)
        await events.create()
        outcomes = await asyncio.gather(events.insert("fine"), events.insert(None), return_exceptions=True)
        assert [type(outcome).__name__ for outcome in outcomes] == ["IntegrityError"] * 2
        async with database.execute("SELECT count(*) FROM events") as cursor:
            assert await cursor.fetchone() == (0,)
        assert await events.insert("fine") == 1


def test_embeddings_of_single_sentences_are_made_in_batches(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wordllama", reason="has an environment of its own: hatch run examples:test")
    run_as_main("embeddings.py")
    assert capsys.readouterr().out.splitlines() == ["nearest: The database is overloaded.", "batches: 1"]


def test_torch_tensors_are_batched(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="large, and not needed otherwise")
    run_as_main("torch_tensors.py")
    assert capsys.readouterr().out.splitlines() == ["batch of 3", "(1, 1) (2, 1)"]


class Tensor:
    """Stands in for a torch tensor: has a length and slices, but is neither a list nor an array."""

    def __init__(self, *rows: tuple[float, ...]) -> None:
        self.rows = rows
        self.shape = (len(rows), len(rows[0]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "Tensor":
        return Tensor(*self.rows[part])


class StandIn(ModuleType):
    """As much of torch as the example uses."""

    Tensor = Tensor
    nn = SimpleNamespace(Linear=lambda i, o: lambda rows: Tensor(*((sum(row),) for row in rows.rows)))

    @staticmethod
    def cat(tensors: list[Tensor]) -> Tensor:
        return Tensor(*(row for tensor in tensors for row in tensor.rows))

    @staticmethod
    def ones(rows: int, columns: int) -> Tensor:
        return Tensor(*[(1.0,) * columns] * rows)

    @staticmethod
    def zeros(rows: int, columns: int) -> Tensor:
        return Tensor(*[(0.0,) * columns] * rows)

    class inference_mode:  # noqa: N801
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...


def test_the_torch_example_works_with_a_stand_in_for_torch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", StandIn("torch"))
    run_as_main("torch_tensors.py")
    assert capsys.readouterr().out.splitlines() == ["batch of 3", "(1, 1) (2, 1)"]
