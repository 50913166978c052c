"""Tests that run on every FastAPI version that engines require."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Final

import pytest

from servers import run_until_exit
from venvs import BUILD, ROOT, kept_venv, run

# The test client of older Starlettes uses a name that anyio has deprecated.
ANYIO: Final = "ignore:The anyio.abc.BlockingPortal alias:DeprecationWarning"

#: FastAPI requirements, and the warnings that each version causes itself. The main
#: environment has 0.136, which vLLM requires.
VERSIONS: Final[dict[str, tuple[str, ...]]] = {
    "fastapi==0.115.4": (ANYIO,),
    "fastapi==0.117.1": (ANYIO,),
    "fastapi==0.121.3": (ANYIO,),
    "fastapi": (),
}
UNIT: Final = ROOT / "tests" / "unit"
FILES: Final = (
    "adapters/test_registered_handlers.py",
    "app/test_bidirectional_stream.py",
    "app/test_bootstrap*.py",
    "app/test_inference_routes.py",
    "app/test_invocations*.py",
    "asgi/test_endpoint.py",
    "asgi/test_inference_paths.py",
    "guard/test_api_key.py",
    "observability/test_request_ids.py",
    "observability/test_tracing.py",
    "sessions/test_security.py",
    "tracking/test_websockets.py",
)
TOOLS: Final = (
    "httpx",
    "httpx2",
    "hypothesis",
    "opentelemetry-sdk",
    "pytest>=8.4",
    "pytest-asyncio>=1",
    "python-multipart",
)
TIMEOUT_S: Final = 300


#: Between the oldest and the newest: make test-slow.
BETWEEN: Final = ("fastapi==0.117.1", "fastapi==0.121.3")


@pytest.fixture(
    params=[
        pytest.param(version, marks=[pytest.mark.slow] if version in BETWEEN else [])
        for version in VERSIONS
    ]
)
def fastapi(request: pytest.FixtureRequest) -> str:
    requirement: str = request.param
    return requirement


@pytest.fixture
def python(fastapi: str) -> Path:
    """The interpreter of an environment with this FastAPI and this package."""
    folder = BUILD / "fastapi" / (fastapi.partition("==")[2] or "newest")
    return kept_venv(folder, fastapi, *TOOLS, "--editable", str(ROOT))


def test_environment_has_expected_fastapi(fastapi: str, python: Path) -> None:
    version = "from importlib.metadata import version; print(version('fastapi'))"
    wanted = fastapi.partition("==")[2]
    assert run(python, "-c", version).startswith(wanted)


def test_main_environment_has_fastapi_0_136() -> None:
    assert metadata.version("fastapi").startswith("0.136."), "Add 0.136.* to VERSIONS."


def test_suite_passes(fastapi: str, python: Path) -> None:
    files = [str(file) for glob in FILES for file in UNIT.glob(glob)]
    assert files
    relaxed = [f"-W{warning}" for warning in VERSIONS[fastapi]]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    end = run_until_exit([*command, *relaxed, *files], cwd=ROOT, timeout=TIMEOUT_S)
    assert end.status == 0, end.stdout + end.stderr
