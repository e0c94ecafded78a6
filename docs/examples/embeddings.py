"""Sentence embeddings, one sentence per caller: the model works on lists of them.

The model is WordLlama: 256 figures per sentence, with its real weights inside the package (``pip install wordllama``).
"""

import asyncio
from pathlib import Path

import numpy as np
import wordllama
from dike import batch

# The weights and the tokenizer lie in the package, so nothing is downloaded.
model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)


@batch(
    target_batch_size=32,
    max_waiting_time=0.005,
    max_batch_size=64,
    max_concurrent_batches=1,
    dispatch_when_idle=True,
    argument_type="item",
)
async def embed(sentences: list[str]) -> list[np.ndarray]:
    """Return the embedding of each sentence, of length 1."""
    return list(await asyncio.to_thread(model.embed, sentences, norm=True))


async def main() -> None:
    """Tell which sentence is nearest to a question."""
    sentences = ["The database is overloaded.", "Cats sleep for most of the day.", "Bread is baked in an oven."]
    question, *answers = await asyncio.gather(*map(embed, ["Too many queries hit our SQL server.", *sentences]))
    similarities = [float(question @ answer) for answer in answers]
    print(f"nearest: {sentences[int(np.argmax(similarities))]}")
    print(f"batches: {embed.batch_info().batches}")


if __name__ == "__main__":
    asyncio.run(main())
