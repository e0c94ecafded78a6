"""Every example on the site runs, and prints what the page says it prints.

An example is a ``python`` block, or a file of ``docs/examples`` that a page includes; a block marked ``output`` right
after it is what it prints, its logs included. Examples run on virtual time, unless their page says that they need real
time (``real-time`` in the block's info, for threads and sockets).
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
from contextlib import redirect_stderr, redirect_stdout
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
        if info.startswith("{literalinclude}") and info.endswith(".py"):
            code = (page.parent / info.split()[1]).read_text()
        elif info.split()[:1] == ["python"]:
            code = "\n" * line + block["body"]
        else:
            continue
        adjacent = following is not None and not text[block.end() : following.start()].strip()
        output = following["body"] if following is not None and adjacent and following["info"] == "output" else None
        yield Example(f"{page.relative_to(DOCS)}:{line}", code, output, "real-time" in info)


EXAMPLES = [example for page in PAGES for example in examples_of(page)]


@pytest.fixture
def clean_logging() -> Iterator[None]:
    """Logging as a fresh interpreter has it, so that an example's `basicConfig` is heeded."""
    root, dike = logging.getLogger(), logging.getLogger("dike")
    before = root.handlers[:], root.level
    root.handlers.clear()
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    dike.handlers.clear()
    dike.filters.clear()
    dike.setLevel(logging.NOTSET)
    dike.propagate = True


@pytest.mark.usefixtures("clean_logging")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_prints_what_its_page_shows(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    if not example.real_time:
        monkeypatch.setattr(asyncio, "run", virtual_clock.run)
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        exec(compile(example.code, example.name, "exec"), {"__name__": "__main__"})
    if example.output is not None:
        assert printed.getvalue() == example.output


def test_an_output_block_belongs_to_an_example() -> None:
    for page in PAGES:
        shown = sum(block["info"] == "output" for block in FENCE.finditer(page.read_text()))
        assert shown == sum(example.output is not None for example in examples_of(page)), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_each_decorator_that_a_page_quotes_can_be_made(page: Path) -> None:
    names = {"retry": retry, "limit_jobs": limit_jobs, "batch": batch, "AdaptiveLimit": AdaptiveLimit}
    names |= {"RetryBudget": RetryBudget, "httpx": httpx, "math": math, "predicate": bool, "hook": print}
    for quoted in DECORATOR.findall(page.read_text()):
        assert callable(eval(quoted, names)), quoted


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
