"""Run the contract's tests on the engines of this environment, and skip the others."""

from __future__ import annotations

import pytest

# Before the import, so that failed assertions show their values.
pytest.register_assert_rewrite("promises")

from promises.fixtures import customised_server, script, server  # noqa: E402

from .engines import ENGINES, RealEngine  # noqa: E402

__all__ = ["customised_server", "engine", "script", "server"]


@pytest.fixture(scope="session", params=ENGINES, ids=lambda engine: engine.command)
def engine(request: pytest.FixtureRequest) -> RealEngine:
    real: RealEngine = request.param
    if reason := real.skip_reason():
        pytest.skip(reason)
    return real
