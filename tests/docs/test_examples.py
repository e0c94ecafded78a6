"""Every example on the site runs, and prints what the page says it prints.

An example is a ``python`` block; a block marked ``output`` right after it is what it prints, its logs included.
Examples run on virtual time, unless they need real time, for threads or sockets (``real-time`` in the block's info).
"""

import asyncio
import io
import itertools
import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import virtual_clock
from dike_batch import batch
from dike_limit import AdaptiveLimit, limit_jobs
from dike_retry import RetryBudget, retry

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
FENCE = re.compile(r"^(?P<ticks>`{3,}|:{3,})(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=ticks)[ ]*$", re.M | re.S)
DECORATOR = re.compile(r"`((?:retry|limit_jobs|batch)\([^`]+\))`")


class Example(NamedTuple):
    name: str
    code: str
    output: str | None
    real_time: bool


def examples_of(page: Path) -> Iterator[Example]:
    text = page.read_text()
    blocks = list(FENCE.finditer(text))
    for block, following in itertools.pairwise([*blocks, None]):
        assert block is not None
        info, line = block["info"], text.count("\n", 0, block.start()) + 1
        if info.split()[:1] != ["python"]:
            continue
        code = "\n" * line + block["body"]
        adjacent = following is not None and not text[block.end() : following.start()].strip()
        output = following["body"] if following is not None and adjacent and following["info"] == "output" else None
        yield Example(f"{page.relative_to(DOCS)}:{line}", code, output, "real-time" in info)


EXAMPLES = [example for page in PAGES for example in examples_of(page)]


@contextmanager
def fresh_logging() -> Iterator[None]:
    """Logging as a new interpreter has it, so that an example's `basicConfig` is heeded."""
    root, dike = logging.getLogger(), logging.getLogger("dike")
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        dike.setLevel(logging.NOTSET)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_prints_what_its_page_shows(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    if not example.real_time:
        monkeypatch.setattr(asyncio, "run", virtual_clock.run)
    printed = io.StringIO()
    with fresh_logging(), redirect_stdout(printed), redirect_stderr(printed):
        exec(compile(example.code, example.name, "exec"), {"__name__": "__main__"})
    assert printed.getvalue() == (example.output or "")


def test_an_output_block_belongs_to_an_example() -> None:
    for page in PAGES:
        shown = sum(block["info"] == "output" for block in FENCE.finditer(page.read_text()))
        assert shown == sum(example.output is not None for example in examples_of(page)), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_each_decorator_that_a_page_quotes_can_be_made(page: Path) -> None:
    names = {"retry": retry, "limit_jobs": limit_jobs, "batch": batch, "AdaptiveLimit": AdaptiveLimit}
    names |= {"RetryBudget": RetryBudget, "httpx": httpx, "math": math, "predicate": bool, "hook": print}
    for quoted in DECORATOR.findall(page.read_text()):
        if "..." not in quoted:
            assert callable(eval(quoted, names)), quoted


def test_each_program_that_a_page_includes_has_a_test() -> None:
    tests = "\n".join(
        test.read_text() for root in (DOCS.parent / "tests", DOCS / "examples") for test in root.rglob("test_*.py")
    )
    included = re.findall(r"^```{literalinclude} examples/(\S+\.py)$", "\n".join(map(Path.read_text, PAGES)), re.M)
    assert included
    for name in map(Path, included):
        assert name.name in tests or f"import {name.stem}" in tests or name.parent.name == "testing", name


def test_the_tests_that_the_site_shows_pass() -> None:
    tests = DOCS.parent / "tests"
    command = [sys.executable, "-m", "pytest", "-c", tests / "pytest.toml", "-p", "conftest", "-q"]
    environment = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{DOCS / 'examples'}"}
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", DOCS / "examples" / "testing"],
        capture_output=True,
        check=False,
        env=environment,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout
