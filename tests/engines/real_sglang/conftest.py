"""Here the engine is a real SGLang, in an environment of its own."""

from __future__ import annotations

import os
import sys

import pytest

if "promises" not in sys.modules:  # They may have been collected by themselves.
    # Before they are imported: their assertions show the values that they compare.
    pytest.register_assert_rewrite("promises")

from promises.fixtures import customised_server, script, server
from sglang_server import VERSION, RealSGLang

__all__ = ["customised_server", "engine", "script", "server"]


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Skip the tests, whose servers take minutes, and record the tested SGLang."""
    reason = pytest.mark.skip(reason="it takes minutes: make test-sglang")
    for item in items:
        if "real_sglang" in item.nodeid:
            item.user_properties.append(("sglang", VERSION))
            if not os.environ.get("TEST_SGLANG"):
                item.add_marker(reason)


@pytest.fixture(scope="session")
def engine() -> RealSGLang:
    return RealSGLang()
