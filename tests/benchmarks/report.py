"""Makes the Performance page of the docs, tables and plots, from the JSON of a run: no figure is typed by hand.

``hatch run bench:publish`` runs all benchmarks and then this; ``hatch run bench:report`` does this alone.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.__main__ import cell

DOCS = Path(__file__).parents[2] / "docs"
PLOTS = "_static/performance"

# Of middling lightness, so that they can be told from a white and from a black page.
COLORS = ("#0f8a8a", "#d0602a", "#7b6fd0", "#3f8f3f", "#c04f8a", "#8f7a1f", "#5d84b8", "#a06a50")
GREY = "#808080"

INTRODUCTION = """\
# Performance

How dike compares with its peers, and with the least that plain Python can do for the same job.
Each table and plot on this page is made by a script from [the results of one run](performance.json).

To repeat it, in a checkout with [Hatch](https://hatch.pypa.io):

```sh
hatch run bench --quick   # two minutes: fewer rounds, smaller sizes
hatch run bench           # all of it
hatch run bench --only calls policy
hatch run bench:publish   # all of it, and this page made anew
```

The environment is Hatch's own, with the peers at fixed versions. Every contender is first seen to do the job: to retry,
to limit, to batch. Contenders take turns in one process, A B C A B C, and ratios are taken turn by turn: what slows the
machine at that moment slows all of them. So the ratios carry over to other machines, while the times do not. Ray Serve,
which is large, takes part if it is installed: `hatch run bench:python -m pip install "ray[serve]"`.
"""


def is_ours(name: str) -> bool:
    """Whether a contender is dike, as it is here."""
    return name.partition(",")[0] in ("dike", "dike_batch", "dike_limit", "dike_retry")


def markdown_table(columns: list[str], rows: list[list[Any]]) -> str:
    """Write a table, the numbers to the right and dike itself in bold."""
    lines = [f"| {' | '.join(columns)} |", f"| :-- |{' --: |' * (len(columns) - 1)}"]
    for row in rows:
        cells = [cell(value) for value in row]
        if is_ours(cells[0]):
            cells[0] = f"**{cells[0]}**"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def targets(sections: dict[str, Any]) -> str:
    """Write what was to be reached, and whether it was."""
    rows = []
    for section in sections.values():
        if section.get("targets"):
            rows.append([f"**{section['title']}**", "", "", ""])
        for what, measured, relation, bound in section.get("targets", ()):
            met = measured <= bound if relation == "<=" else measured >= bound
            sign = "≤" if relation == "<=" else "≥"
            rows.append([what, measured, f"{sign}\u00a0{bound}", "yes" if met else "**no**"])
    return markdown_table(["what", "measured", "aim", "reached"], rows)


def draw(plot: dict[str, Any], path: Path) -> None:
    """Draw lines or bars on a transparent ground."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {
        "axes.edgecolor": GREY,
        "axes.labelcolor": GREY,
        "axes.prop_cycle": mpl.cycler(color=COLORS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 11,
        "grid.color": GREY,
        "grid.alpha": 0.3,
        "svg.fonttype": "none",
        "svg.hashsalt": plot["name"],
        "text.color": GREY,
        "xtick.color": GREY,
        "ytick.color": GREY,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(7.5, 3.6), layout="constrained")
        axes = figure.subplots()
        if "bars" in plot:
            names = list(plot["bars"])[::-1]
            bars = axes.barh(names, [plot["bars"][name] for name in names], color=GREY, height=0.6)
            axes.bar_label(bars, labels=[cell(plot["bars"][name]) for name in names], padding=3, color=GREY)
            for name, bar in zip(names, bars, strict=True):
                if is_ours(name):
                    bar.set_color(COLORS[0])
            axes.margins(x=0.12)
        else:
            for name, points in plot["lines"].items():
                marker = "o" if len(points) <= 12 else ""
                width = 2.6 if is_ours(name) else 1.4
                axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, linewidth=width, label=name)
            figure.legend(loc="outside right upper", frameon=False)
            axes.set_ylabel(plot["y"])
        if "x" in plot["log"]:
            axes.set_xscale("log")
        if "y" in plot["log"]:
            axes.set_yscale("log")
        elif "lines" in plot:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(plot["x"])
        axes.grid(visible=True, axis="x" if "bars" in plot else "both")
        axes.set_axisbelow(True)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, transparent=True, metadata={"Date": None})


def section_page(section: dict[str, Any]) -> str:
    """Write one benchmark's part of the page."""
    parts = [f"## {section['title']}", section["about"]]
    for table in section["tables"]:
        parts += [f"**{table['caption']}**", markdown_table(table["columns"], table["rows"])]
    for plot in section.get("plots", ()):
        parts.append(f"![{plot['caption']}]({PLOTS}/{plot['name']}.svg)\n\n*{plot['caption']}*")
    parts += section.get("text", ())
    return "\n\n".join(parts)


def page(results: dict[str, Any]) -> str:
    """Write the page."""
    machine = results["machine"]
    distributions = ", ".join(f"{name} {version}" for name, version in machine["peers"].items())
    where = (
        f"This run: {machine['date'][:10]}, {machine['python']}, {machine['platform']}, {machine['processor']}, "
        f"{machine['cpus']} CPUs, {sum(results['seconds'].values()):,.0f} seconds"
        f"{', quick' if results['quick'] else ''}. Peers: {distributions}."
    )
    parts = [INTRODUCTION.rstrip(), where, "## At a glance", targets(results["sections"])]
    parts += [section_page(section) for section in results["sections"].values()]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the page and its plots."""
    parser = argparse.ArgumentParser(prog="report", description="makes the Performance page of the docs")
    parser.add_argument(
        "json", type=Path, nargs="?", default=DOCS / "performance.json", help="what `bench --json` wrote"
    )
    results = json.loads(parser.parse_args().json.read_text())
    plots = DOCS / PLOTS
    for old in plots.glob("*.svg"):
        old.unlink()
    for section in results["sections"].values():
        for plot in section.get("plots", ()):
            draw(plot, plots / f"{plot['name']}.svg")
    (DOCS / "performance.md").write_text(page(results))


if __name__ == "__main__":
    main()
