"""Here the engine is a real Ray Serve LLM, in an environment of its own."""

from __future__ import annotations

import os
import sys

import pytest

if "promises" not in sys.modules:  # They may have been collected by themselves.
    # Before they are imported: their assertions show the values that they compare.
    pytest.register_assert_rewrite("promises")

from promises.fixtures import customised_server, script, server
from ray_server import VERSION, RealRay

__all__ = ["customised_server", "engine", "script", "server"]


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Skip the tests, each server of which is a cluster, and record the tested Ray."""
    reason = pytest.mark.skip(reason="it takes minutes: make test-ray")
    for item in items:
        if "real_ray" in item.nodeid:
            item.user_properties.append(("ray", VERSION))
            if not os.environ.get("TEST_RAY"):
                item.add_marker(reason)


@pytest.fixture(scope="session")
def engine() -> RealRay:
    return RealRay()
