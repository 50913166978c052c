"""Here the engine is a real SGLang, in an environment of its own."""

from __future__ import annotations

import os
import sys
from typing import Final

import pytest

if "promises" not in sys.modules:  # They may have been collected by themselves.
    # Before they are imported: their assertions show the values that they compare.
    pytest.register_assert_rewrite("promises")

from promises.fixtures import customised_server, script, server
from sglang_server import VERSION, RealSGLang

__all__ = ["customised_server", "engine", "script", "server"]


#: The servers of most promises. Others take about a minute of both cores each: their
#: tests run by make test-sglang only.
SHARED: Final = {"adapter_server", "server"}
TWO_PROCESSES: Final = "two processes"


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Skip what takes long, and record the tested SGLang in the reports."""
    for item in items:
        if "real_sglang" in item.nodeid:
            item.user_properties.append(("sglang", VERSION))
    if os.environ.get("TEST_SGLANG"):
        return
    reason = pytest.mark.skip(reason="it takes minutes: make test-sglang")
    for item in items:
        is_shared = not SHARED.isdisjoint(item.fixturenames)
        if "real_sglang" in item.nodeid and (
            not is_shared or TWO_PROCESSES in item.nodeid
        ):
            item.add_marker(reason)


@pytest.fixture(scope="session")
def engine() -> RealSGLang:
    return RealSGLang()
