"""Fixtures for the tests of dike-limit."""

from limit.shared_server import client, fragile_client, fragile_server, name, server

__all__ = ["client", "fragile_client", "fragile_server", "name", "server"]
