"""The reference is complete: each public name is on the page of its package."""

import re
from pathlib import Path
from types import ModuleType

import dike
import dike_batch
import dike_limit
import dike_retry
import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("package", [dike_batch, dike_limit, dike_retry], ids=lambda package: package.__name__)
def test_each_public_name_has_an_entry(package: ModuleType) -> None:
    text = (REFERENCE / f"{package.__name__.replace('_', '-')}.md").read_text()
    assert sorted(re.findall(r"^\.\. auto\w+:: (\w+)", text, re.M)) == package.__all__


def test_the_page_of_dike_has_its_four_names() -> None:
    assert sorted(re.findall(r"^\| `dike\.(\w+)`", (REFERENCE / "dike.md").read_text(), re.M)) == dike.__all__
