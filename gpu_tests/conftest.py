"""The engines of this environment; others are skipped with the reason."""

from __future__ import annotations

import pytest

# Before the import, so that pytest rewrites their assertions.
pytest.register_assert_rewrite("promises")

from promises.fixtures import customised, script, server  # noqa: E402

from .engines import ENGINES, RealEngine  # noqa: E402

__all__ = ["customised", "engine", "script", "server"]


@pytest.fixture(scope="session", params=ENGINES, ids=lambda engine: engine.command)
def engine(request: pytest.FixtureRequest) -> RealEngine:
    real: RealEngine = request.param
    if reason := real.missing():
        pytest.skip(reason)
    return real
