"""Fixtures for the tests of dike-batch."""

import gc
import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def asyncio_has_nothing_to_complain_about(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if an exception was lost in a callback, or in a task or future that nobody asked for it."""
    yield
    if not gc.isenabled():
        gc.enable()
    complaints = [record for record in caplog.get_records("call") if record.name == "asyncio"]
    assert [record.getMessage() for record in complaints if record.levelno >= logging.ERROR] == []
