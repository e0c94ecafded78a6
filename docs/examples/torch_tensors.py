"""PyTorch tensors: a container that batch does not know takes ten lines."""

import asyncio
from typing import Any

import torch
from dike_batch import ArgumentType, batch


class Tensors(ArgumentType):
    """Tensors, whose rows are their first dimension."""

    def rows(self, value: Any) -> int:
        return len(value)

    def join(self, values: list[Any]) -> Any:
        return torch.cat(values)

    def slice(self, value: Any, start: int, stop: int) -> Any:
        return value[start:stop]


layer = torch.nn.Linear(3, 1)


@batch(target_batch_size=3, max_waiting_time=0.01, argument_type=Tensors())
async def predict(rows: Any) -> Any:
    """Return one figure per row."""
    print(f"batch of {len(rows)}")
    with torch.inference_mode():
        return await asyncio.to_thread(layer, rows)


async def main() -> None:
    """Two callers, one batch."""
    one, two = await asyncio.gather(predict(torch.ones(1, 3)), predict(torch.zeros(2, 3)))
    print(tuple(one.shape), tuple(two.shape))


if __name__ == "__main__":
    asyncio.run(main())
