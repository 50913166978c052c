"""Here the engine is a real SGLang, in an environment of its own."""

from __future__ import annotations

import pytest

# Before they are imported: their assertions show the values that they compare.
pytest.register_assert_rewrite("promises")

from promises.fixtures import customised_server, script, server  # noqa: E402
from sglang_server import RealSGLang  # noqa: E402

__all__ = ["customised_server", "engine", "script", "server"]


@pytest.fixture(scope="session")
def engine() -> RealSGLang:
    return RealSGLang()
