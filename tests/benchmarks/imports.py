"""What an import adds to the start of a service that has imported asyncio already."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import measure

# Ours of the name `dike` cannot be installed where the older release is, but it can be found first.
DIKE = Path(__file__).parents[2] / "packages" / "dike" / "src"

MEASURE = """
import asyncio, json, sys, time
if {without_numpy}:
    sys.modules["numpy"] = None
before = set(sys.modules)
start = time.process_time()
{statement}
seconds = time.process_time() - start
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""

# What comes late is imported then.
FIRST_USES = """
import dike
async def double(rows): return rows + rows
dike.retry()(double)
dike.limit_jobs(limit=1)(double)
dike.batch(target_batch_size=1, max_waiting_time=1)(double)
"""
USED = "dike, and a function decorated by each"

CONTENDERS = {
    "dike": "dike",
    USED: "dike",
    "dike_retry": "dike_retry",
    "dike_limit": "dike_limit",
    "dike_batch": "dike_batch",
    "dike 1.0.1": "dike",
    "dike 1.0.1, without numpy": "dike",
    "hyx (retry, bulkhead)": "hyx.retry, hyx.bulkhead",
    "backoff": "backoff",
    "tenacity": "tenacity",
    "stamina": "stamina",
    "anyio": "anyio",
    "aiolimiter": "aiolimiter",
    "aiodataloader": "aiodataloader",
    "async-batcher": "async_batcher.batcher",
    "batched": "batched",
    "Ray Serve": "ray.serve",
}


def imported(name: str) -> tuple[float, list[str]]:
    """Return the seconds that an import takes in a fresh interpreter, and the modules that it adds."""
    modules = CONTENDERS[name]
    statement = FIRST_USES if name == USED else f"import {modules}"
    code = MEASURE.format(statement=statement, without_numpy=name.endswith("without numpy"))
    environment = os.environ | {"PYTHONPATH": str(DIKE) if name in ("dike", USED) else ""}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is there in compiled form
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ImportError(result.stderr.strip().rpartition("\n")[2])
    seconds, added = json.loads(result.stdout)
    return seconds, added


def foreign(name: str, added: list[str]) -> int:
    """Count the modules of neither the standard library nor the contender."""
    own = {part.strip().partition(".")[0] for part in CONTENDERS[name].split(",")}
    if name in ("dike", USED):
        own |= {"dike_retry", "dike_limit", "dike_batch"}
    return sum(module.partition(".")[0] not in own | sys.stdlib_module_names for module in added)


def run(quick: bool) -> dict[str, Any]:
    rounds = 3 if quick else 21
    found = measure.available({name: lambda name=name: imported(name)[1] for name in CONTENDERS})
    times = measure.interleave({name: lambda name=name: imported(name)[0] for name in found}, rounds)
    rows = []
    for name in sorted(times, key=lambda name: statistics.median(times[name])):
        low, middle, high = statistics.quantiles(times[name], n=4)
        spread = f"{low * 1e3:.2f} to {high * 1e3:.2f}"
        rows.append([name, middle * 1e3, spread, len(found[name]), foreign(name, found[name])])
    bounds = {"dike": 5, "dike_retry": 3, "dike_limit": 3, "dike_batch": 3}
    ours = [name for name in bounds if name in found]
    return {
        "title": "Import",
        "about": (
            f"Each import {rounds} times in an interpreter of its own, in turns, after `import asyncio`; from compiled "
            "files on a warm disk. Foreign modules are those of neither the standard library nor the contender itself. "
            "What the decorators of dike work with comes late, with the first one that is made."
        ),
        "tables": [
            {
                "caption": "Over `import asyncio`",
                "columns": ["contender", "median, ms", "spread, ms", "modules", "foreign modules"],
                "rows": rows,
            }
        ],
        "targets": [[f"import {name}, ms", measure.typical(times, name) * 1e3, "<=", bounds[name]] for name in ours]
        + [[f"import {name}, foreign modules", foreign(name, found[name]), "<=", 0] for name in ours],
    }
