"""One prediction service under the same load twice: plain, then with `retry`, `limit_jobs` and `batch`."""

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from load import Answer, arrivals, drive
from report import COLORS, Run, outcome, picture, table
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).parent


@asynccontextmanager
async def served(application: str, **environment: str) -> AsyncIterator[str]:
    """Serve an application in a process of its own for as long as the block runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        HERE / "serve.py",
        application,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others
    )
    try:
        port = (await process.stdout.readline()).strip().decode()
        if not port:
            raise SystemExit(f"{application} did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()  # that is what a server leaves at
        await process.wait()


async def warm_up(service: str) -> None:
    """Wait until the service answers."""
    async with aiohttp.ClientSession(service) as session:
        for user in range(10):
            async with session.get(f"/score/{user}") as response:
                await response.read()


async def model_figures(service: str) -> Counter[str]:
    """Ask the service what its model has done so far."""
    async with aiohttp.ClientSession(service) as session, session.get("/model") as response:
        return Counter(await response.json())


async def run(name: str, variant: str, seconds: float, progress: Progress) -> Run:
    """Put one variant of the service under the load."""
    async with (
        served("backend:app") as backend,
        served("service:app", DEMO_BACKEND=backend, DEMO_VARIANT=variant) as url,
    ):
        await warm_up(url)
        before = await model_figures(url)
        moments = list(arrivals(seconds))
        bar = progress.add_task(name, total=len(moments), state="")
        seen: Counter[str] = Counter()

        def tell(answer: Answer) -> None:
            seen[outcome(answer)] += 1
            progress.update(bar, advance=1, state=", ".join(f"{seen[what]:,} {what}" for what in COLORS))

        answers = await drive(url, moments, tell)
        model = await model_figures(url) - before
    return Run(name, seconds, answers, model["calls"], model["rows"])


async def main() -> None:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=12, help="how long each of the two loads lasts (default: 12)")
    parser.add_argument("--picture", type=Path, default=Path("demo.png"), help="where to save it (default: demo.png)")
    options = parser.parse_args()
    columns = [TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn(), TextColumn("{task.fields[state]}")]
    with Progress(*columns, refresh_per_second=4) as progress:
        runs = [
            await run("plain", "plain", options.seconds, progress),
            await run("with dike", "guarded", options.seconds, progress),
        ]
    Console().print(table(runs))
    picture(runs, options.picture)
    lateness = max(answer.lateness for run in runs for answer in run.answers)
    print(f"The load generator was at most {lateness * 1000:.0f} ms late; latencies count from the due moment.")
    print(f"Latency over time: {options.picture.resolve()}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
