"""A prediction service: it fetches a user's features from a flaky backend and has a slow model score them."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import aiohttp
import numpy as np
from dike import TooManyCalls, batch, limit_jobs, retry
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from model import Model

if os.environ.get("DEMO_VARIANT") == "plain":  # the same service, its three decorators taken away
    batch = limit_jobs = retry = lambda **options: lambda function: function

model = Model()
device = ThreadPoolExecutor(max_workers=1)  # runs one call of the model at a time


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    connections = aiohttp.TCPConnector(limit=0)
    patience = aiohttp.ClientTimeout(total=0.5)
    async with aiohttp.ClientSession(os.environ["DEMO_BACKEND"], connector=connections, timeout=patience) as session:
        app.state.backend = session
        yield


app = FastAPI(lifespan=lifespan)


@retry(attempts=4, delay=0.02, backoff=2, jitter=0.5, exception_types=(aiohttp.ClientError, TimeoutError))
async def features(user: int) -> np.ndarray:
    async with app.state.backend.get(f"/features/{user}", raise_for_status=True) as response:
        return np.array([await response.json()], np.float32)


@batch(
    target_batch_size=32,
    max_waiting_time=0.02,
    argument_type="numpy",
    dispatch_when_idle=True,
    max_concurrent_batches=1,
)
async def scores(rows: np.ndarray) -> np.ndarray:
    return await asyncio.get_running_loop().run_in_executor(device, model, rows)


@app.get("/score/{user}")
@limit_jobs(limit=12)
async def score(user: int) -> float:
    row = await scores(await features(user))
    return float(row[0])


@app.exception_handler(TooManyCalls)
async def overloaded(request: Request, error: TooManyCalls) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})


@app.exception_handler(aiohttp.ClientError)
@app.exception_handler(TimeoutError)
async def backend_failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": repr(error)}, 502)


@app.get("/model")
async def model_figures() -> dict[str, int]:
    return {"calls": model.calls, "rows": model.rows}
