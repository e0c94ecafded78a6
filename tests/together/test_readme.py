"""The READMEs show code that runs, and what it really prints."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = [
    "README.md",
    *(f"packages/{package}/README.md" for package in ("dike", "dike-batch", "dike-limit", "dike-retry")),
]
EXAMPLE = re.compile(r"^```python\n(?P<code>.*?)^```\n\n```output\n(?P<output>.*?)^```$", re.M | re.S)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")

EXAMPLES = [
    pytest.param(match["code"], match["output"], id=f"{readme}-{number}")
    for readme in READMES
    for number, match in enumerate(EXAMPLE.finditer((ROOT / readme).read_text()), 1)
]


@pytest.mark.real_time
@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_prints_what_its_readme_shows(code: str, output: str, tmp_path: Path) -> None:
    """As for a user: in an interpreter of its own, logs included; `...` stands for a traceback's lines."""
    example = tmp_path / "example.py"
    example.write_text(code)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    printed = subprocess.run(
        [sys.executable, example],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    ).stdout
    assert doctest.OutputChecker().check_output(output, printed, doctest.ELLIPSIS), printed


def test_the_readme_of_the_repository_has_an_example_of_each_decorator() -> None:
    codes = [match["code"] for match in EXAMPLE.finditer((ROOT / "README.md").read_text())]
    assert [re.findall(r"^@(\w+)", code, re.M) for code in codes] == [["retry"], ["limit_jobs"], ["batch"]]


def test_the_readme_shows_the_code_of_the_demo() -> None:
    service = (ROOT / "docs/examples/demo/service.py").read_text()
    *_, shown = PYTHON.findall((ROOT / "README.md").read_text())
    assert "@app.get" in shown
    assert shown in service


@pytest.mark.parametrize("readme", READMES)
def test_a_readme_links_only_to_what_is_there(readme: str) -> None:
    path = ROOT / readme
    assert [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("readme", READMES[1:])
def test_the_readme_of_a_package_stands_alone(readme: str) -> None:
    """On a package index, a relative link leads nowhere."""
    text = (ROOT / readme).read_text()
    assert LINK.findall(text) == []
    assert f"pip install {Path(readme).parent.name}" in text
