"""Fixtures for all packages: above all, tests run on virtual time."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
from hypothesis import settings
from virtual_clock import VirtualClockLoop

# On a busy machine an example may take any time. In CI, hypothesis' own profile also makes the examples the same.
settings.register_profile("dike", deadline=None)
settings.load_profile("dike")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give each async test a virtual clock, unless it is marked ``real_time``."""
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualClockLoop}
