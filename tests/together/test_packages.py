"""What holds for the four packages together: their faces, their files, their versions."""

import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import dike
import dike_batch
import dike_limit
import dike_retry
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["dike", "dike-batch", "dike-limit", "dike-retry"]
PUBLIC = {
    "dike": {"TooManyCalls", "batch", "limit_jobs", "retry"},
    "dike_batch": {"ArgumentType", "BatchInfo", "batch"},
    "dike_limit": {"AdaptiveLimit", "JobLimiter", "SharedLimit", "TooManyCalls", "limit_jobs"},
    "dike_retry": {"FailedAttempt", "RetryBudget", "no_delay", "retry"},
}


def project(package: str) -> Any:
    return tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["project"]


def test_dike_re_exports_the_very_objects_of_the_three_packages() -> None:
    assert dike.retry is dike_retry.retry
    assert dike.limit_jobs is dike_limit.limit_jobs
    assert dike.TooManyCalls is dike_limit.TooManyCalls
    assert dike.batch is dike_batch.batch


@pytest.mark.parametrize("name", PUBLIC)
def test_a_package_has_exactly_its_public_names_and_sorts_them(name: str) -> None:
    module = importlib.import_module(name)
    assert set(module.__all__) == PUBLIC[name]
    assert module.__all__ == sorted(module.__all__)
    public = {n for n, value in vars(module).items() if not n.startswith("_") and not isinstance(value, ModuleType)}
    assert public == PUBLIC[name]


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - {"dike"}))
def test_public_objects_say_that_they_live_in_the_facade(name: str) -> None:
    module = importlib.import_module(name)
    assert {n: getattr(module, n).__module__ for n in module.__all__} == dict.fromkeys(module.__all__, name)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_object_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        assert getattr(module, public).__doc__, public


@pytest.mark.parametrize(("name", "count"), [("_decorating.py", 3), ("_loops.py", 2)])
def test_what_several_packages_need_is_the_same_in_each(name: str, count: int) -> None:
    copies = [path.read_text() for path in ROOT.glob(f"packages/*/src/*/{name}")]
    assert len(copies) == count
    assert len(set(copies)) == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_carries_a_real_copy_of_the_licence(package: str) -> None:
    licence = ROOT / "packages" / package / "LICENSE"
    assert not licence.is_symlink()
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_marked_as_typed(package: str) -> None:
    assert (ROOT / "packages" / package / "src" / package.replace("-", "_") / "py.typed").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_changelog_begins_with_the_version_that_is_installed(package: str) -> None:
    changelog = (ROOT / "packages" / package / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert newest
    assert newest[1] == project(package)["version"] == version(package)


def test_the_three_need_nothing_and_dike_needs_ranges_of_the_three() -> None:
    for package in ("dike-batch", "dike-limit", "dike-retry"):
        assert project(package)["dependencies"] == []
    assert project("dike")["dependencies"] == ["dike-batch>=1.0,<2", "dike-limit>=1.0,<2", "dike-retry>=1.0,<2"]


def loaded_by(code: str) -> set[str]:
    """Return the modules that there are after `code` in an interpreter that has imported asyncio only."""
    # Without `site`, whose .pth files import what they like; the path is handed on instead.
    before, after = f"import sys; sys.path[:] = {sys.path!r}; import asyncio", "print(*sys.modules)"
    lines = "\n".join([before, code, after])
    done = subprocess.run([sys.executable, "-S", "-c", lines], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


DECORATED = """
async def double(rows):
    return rows + rows

import dike
import dike_limit

dike.retry(timeout=1, budget=None, on_failure=print)(double)
dike.limit_jobs(limit=1)(double)
dike.limit_jobs(limit=dike_limit.AdaptiveLimit())(double)
dike.batch(target_batch_size=1, max_waiting_time=1)(double)
"""


@pytest.mark.parametrize("code", [*(f"import {name}" for name in PUBLIC), DECORATED])
def test_nothing_but_the_standard_library_is_needed(code: str) -> None:
    names = {module.partition(".")[0] for module in loaded_by(code)}
    assert names - sys.stdlib_module_names - set(PUBLIC) - {"__main__", "__mp_main__"} == set()


@pytest.mark.parametrize("name", PUBLIC)
def test_what_takes_long_to_import_and_few_need_comes_late(name: str) -> None:
    late = {"datetime", "_datetime", "numbers", "random", "copy", "hashlib", "dataclasses"}
    late |= {
        "dike_retry._policy",
        "dike_batch._batcher",
        "dike_limit._rules",
        "dike_limit._adaptive_search",
        "dike_limit._shared_leases",
    }
    assert late & (loaded_by(f"import {name}") - loaded_by("")) == set()
