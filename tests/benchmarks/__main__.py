"""The command line: runs the benchmarks, prints their tables, writes their results as JSON."""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
import time
import traceback
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

SECTIONS = (
    "calls",
    "imports",
    "contended",
    "throughput",
    "policy",
    "memory",
    "overload",
    "storm",
    "shared_limit",
    "scale",
)
PEERS = (
    "aiodataloader",
    "aiolimiter",
    "anyio",
    "async-batcher",
    "backoff",
    "batched",
    "dike",
    "hyx",
    "numpy",
    "ray",
    "stamina",
    "tenacity",
)


def machine() -> dict[str, Any]:
    """Say where the figures were taken."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cpus": os.cpu_count(),
        "peers": {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"] in PEERS},
    }


def processor() -> str:
    """Name the processor, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpuinfo.open() if line.startswith("model name")]
        if (cpuinfo.exists())
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def cell(value: Any) -> str:
    """Write one cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def show(section: dict[str, Any]) -> None:
    """Print a section's tables and targets."""
    print(f"\n== {section['title']} ==\n{section['about']}")
    for table in section["tables"]:
        lines = [table["columns"], *[[cell(value) for value in row] for row in table["rows"]]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(table["columns"]))]
        print(f"\n{table['caption']}")
        for line in lines:
            cells = [
                text.ljust(width) if i == 0 else text.rjust(width)
                for i, (text, width) in enumerate(zip(line, widths, strict=True))
            ]
            print("  " + "  ".join(cells).rstrip())
    for what, measured, relation, bound in section.get("targets", ()):
        met = measured <= bound if relation == "<=" else measured >= bound
        print(f"  {'reached' if met else 'MISSED '}  {what}: {cell(measured)} ({relation} {bound})")
    sys.stdout.flush()


def main() -> int:
    """Run what the command line asks for; 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(prog="bench", description="dike beside its peers, in one interleaved run")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sizes: two minutes in all")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=SECTIONS, default=SECTIONS, help=", ".join(SECTIONS)
    )
    parser.add_argument("--json", type=Path, default=Path(__file__).with_name("results.json"), help="where to write")
    options = parser.parse_args()

    results: dict[str, Any] = {"quick": options.quick, "machine": machine(), "seconds": {}, "sections": {}}
    failed = []
    for name in options.only:
        if importlib.util.find_spec(f"benchmarks.{name}") is None:
            print(f"\n{name}: not there yet")
            continue
        start = time.perf_counter()
        try:
            section = importlib.import_module(f"benchmarks.{name}").run(options.quick)
            show(section)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        finally:
            results["seconds"][name] = round(time.perf_counter() - start, 1)
        results["sections"][name] = section
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{sum(results['seconds'].values()):.0f} s; results in {options.json}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
