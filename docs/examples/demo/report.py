"""What came out, as a table and as a picture."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from load import Answer
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

COLORS = {"answered": "tab:blue", "shed": "tab:orange", "errors": "tab:red"}


@dataclass(frozen=True)
class Run:
    """One variant of the service under the load."""

    name: str
    seconds: float
    answers: list[Answer]
    model_calls: int
    model_rows: int


def outcome(answer: Answer) -> str:
    """Name what became of a request."""
    return {200: "answered", 503: "shed"}.get(answer.status, "errors")


def figures(run: Run) -> dict[str, str]:
    """Measure a run."""
    outcomes = [outcome(answer) for answer in run.answers]
    latencies = [answer.latency for answer in run.answers if outcome(answer) == "answered"]
    few = len(latencies) < 2
    percentiles = [math.nan] * 99 if few else statistics.quantiles(latencies, n=100, method="inclusive")
    return {
        "requests": f"{len(run.answers):,}",
        "answered per second": f"{len(latencies) / run.seconds:.0f}",
        "p50 of the answers": f"{percentiles[49] * 1000:,.0f} ms",
        "p99 of the answers": f"{percentiles[98] * 1000:,.0f} ms",
        "errors": f"{outcomes.count('errors'):,}",
        "shed with 503": f"{outcomes.count('shed'):,}",
        "calls of the model": f"{run.model_calls:,}",
        "mean batch size": f"{run.model_rows / max(run.model_calls, 1):.1f}",
    }


def table(runs: Sequence[Run]) -> Table:
    """Lay the runs out side by side."""
    result = Table("", box=box.MARKDOWN)
    for run in runs:
        result.add_column(run.name, justify="right")
    columns = [figures(run) for run in runs]
    for name in columns[0]:
        result.add_row(name, *[column[name] for column in columns])
    return result


def picture(runs: Sequence[Run], path: Path) -> None:
    """Draw each request: when it arrived, how long it took, what became of it."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, len(runs), sharex=True, sharey=True, squeeze=False)[0]
    for panel, run in zip(panels, runs, strict=True):
        for name, color in COLORS.items():
            answers = [answer for answer in run.answers if outcome(answer) == name]
            x = [answer.arrival for answer in answers]
            y = [answer.latency * 1000 for answer in answers]
            panel.scatter(x, y, s=4, color=color, label=f"{name} ({len(answers):,})")
        panel.set(title=run.name, xlabel="arrival (s)", yscale="log")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, markerscale=3)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("latency (ms)")
    figure.savefig(path, dpi=150)
