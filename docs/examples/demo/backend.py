"""A feature backend that has a capacity, fails at times and stalls at times."""

import asyncio
import random

from fastapi import FastAPI, HTTPException
from model import FEATURES

app = FastAPI()
chance = random.Random(0)
workers = asyncio.Semaphore(8)


@app.get("/features/{user}")
async def features(user: int) -> list[float]:
    fails = chance.random() < 0.03
    stalls = chance.random() < 0.005
    async with workers:  # the others queue, as in any server
        await asyncio.sleep(2.0 if stalls else 0.05)
    if fails:
        raise HTTPException(500, "the feature store hiccuped")
    return random.Random(user).choices(range(-3, 4), k=FEATURES)
