"""Benchmarks: dike beside its peers and beside the limits of what Python allows.

``hatch run bench`` runs all of them, prints tables and writes JSON; ``hatch run bench --quick`` takes two minutes;
``hatch run bench --only policy memory`` runs some. ``report.py`` makes the Performance page of the docs from the JSON.

A benchmark is a module of this package with a function ``run(quick: bool) -> dict``, listed in ``__main__.py``. With
``quick`` it should take 15 seconds at most. What it returns can be written as JSON and is a section of the report::

    {
        "title": "Retry storm",
        "about": "What is measured and how, in a few sentences.",
        "tables": [{"caption": "...", "columns": ["contender", "ratio"], "rows": [["dike", 1.02], ["peer", 4.0]]}],
        # Optional: what was promised, as [what, measured, "<=" or ">=", bound].
        "targets": [["requests per call with a budget", 1.02, "<=", 1.1]],
        # Optional: lines to plot, or bars ("bars": {"dike": 1.0}). "log" names the logarithmic axes, "x", "y" or "xy".
        "plots": [{"name": "storm", "caption": "...", "x": "time, s", "y": "requests/s", "log": "",
                   "lines": {"dike": [[0, 1.0], [1, 2.0]]}}],
        # Optional: paragraphs below, in Markdown; figures in them come from variables.
        "text": ["..."],
    }

Modules import each other as ``benchmarks.name``; ``virtual_clock`` (in the folder above) can be imported too. To run
one by hand, outside hatch: ``PYTHONPATH=tests python -m benchmarks --only storm``.
"""
