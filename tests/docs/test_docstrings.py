"""The examples in the docstrings of all four packages run, and print what they say."""

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import dike
import dike_batch
import dike_limit
import dike_retry
import pytest

PACKAGES = (dike, dike_batch, dike_limit, dike_retry)


def docstring_examples() -> Iterator[doctest.DocTest]:
    # A public object carries the name of its package, but lives in a private module: look by name and by module.
    for package in PACKAGES:
        finder = doctest.DocTestFinder()
        for name in package.__all__:
            yield from finder.find(getattr(package, name), f"{package.__name__}.{name}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield from finder.find(importlib.import_module(module.name))
        yield from finder.find(package)


EXAMPLES = {test.docstring: test for test in docstring_examples() if test.examples}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=lambda test: test.name)
def test_a_docstring_example_prints_what_it_shows(example: doctest.DocTest) -> None:
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=report.append)
    assert not result.failed, "".join(report)
