"""Fixtures for all tests; each starts from the state of a fresh import."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient

from adapter_engine import AdapterEngine, app_of
from fixtures import Includer, Script, SetLimits, copy_flat, include, include_nested
from model_hosting_container_standards import testing
from model_hosting_container_standards.settings import variables
from other_process import Other
from real import RELEASE, ROOT
from servers import catch_ignored_signals

pytest_plugins = ["leaks"]

#: Groups of files that share servers.
SHARED: Final = ("real_vllm/test_adapters", "promises/")


def pytest_configure() -> None:
    catch_ignored_signals()
    # PyTorch makes this folder on import; by default in the temporary folder.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(ROOT / "build" / "torchinductor")


#: The slowest tests, by a part of their path. They run first, so that no worker is left
#: with one at the end; real engines, which need the CPU, alternate with the others.
LONGEST: Final = (
    "real_vllm/test_container",
    "real_ray/",
    "real_sglang/",
    "promises/",
    "real_vllm/test_adapters",
    "engines/vllm/test_activation",
    "real_vllm/test_contract_example",
    "test_adapters_stateful",
    "real_vllm/test_sessions_and_middleware",
    "test_fastapi_versions",
    "real_vllm/test_customer_scripts",
    "test_requirements.py",
    "real_vllm/",
    "test_packaging",
    "test_supervisor",
    "test_graceful_shutdown",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest tests first, and record the tested vLLM in the reports.

    tools/matrix.py relies on that record alone.
    """
    items.sort(key=_place)
    for item in items:
        if RELEASE and item.get_closest_marker("vllm"):
            item.user_properties.append(("vllm", version("vllm")))


def _place(item: pytest.Item) -> int:
    found = (n for n, part in enumerate(LONGEST) if part in item.nodeid)
    return next(found, len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run each file, or group of files that share servers, in one worker."""
    from xdist.scheduler import LoadScopeScheduling

    class ByServers(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((name for name in SHARED if name in file), file)

    return ByServers(config, log)


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Unset our variables, reset registered handlers, make an empty model folder."""
    names = [name for variable in variables() for name in variable.names]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("SAGEMAKER_MODEL_PATH", str(tmp_path / "model"))
    monkeypatch.setenv("SAGEMAKER_ADAPTERS_PATH", str(tmp_path / "adapters"))
    monkeypatch.setenv("SAGEMAKER_SESSIONS_PATH", str(tmp_path / "sessions"))
    yield
    testing.reset()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """The folder of SAGEMAKER_MODEL_PATH."""
    return tmp_path / "model"


@pytest.fixture
def script(model_folder: Path) -> Script:
    """Write a file into the model folder, by default the customer script."""

    def write(source: str, name: str = "model.py") -> Path:
        path = model_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    return write


@pytest.fixture(params=[include, include_nested, copy_flat])
def includer(request: pytest.FixtureRequest) -> Includer:
    """The ways in which an engine adds its routes to its app."""
    way: Includer = request.param
    return way


@pytest.fixture
def engine_app(includer: Includer) -> FastAPI:
    """An engine's app with plain routes."""
    app, router = FastAPI(), APIRouter()

    @router.get("/health")
    async def health() -> str:
        return "engine's health"

    @router.get("/ping")
    async def ping() -> str:
        return "engine's ping"

    @router.post("/invocations")
    async def invocations(request: Request) -> str:
        return "engine's invocations"

    @router.post("/v1/answer")
    async def answer(request: Request) -> Any:
        return {"path": request.url.path, "body": await request.json()}

    includer(app, router)
    return app


@pytest.fixture
def client(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """A client of a server whose adapters the test's ``engine`` loads."""
    with TestClient(app_of(engine, monkeypatch)) as client:
        yield client


@pytest.fixture
def start() -> Iterator[Callable[..., Other]]:
    """Start a process that calls one function, and ends with the test."""
    started: list[Other] = []

    def begin(target: Callable[..., Any], *args: Any) -> Other:
        started.append(Other(target, *args))
        return started[-1]

    yield begin
    for other in started:
        other.kill()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> SetLimits:
    """Turn the throttle on by environment variables."""

    def set_limits(
        in_flight: object = "", per_second: object = "", by_variable: bool = True
    ) -> None:
        monkeypatch.setenv("MHCS_THROTTLE_MAX_IN_FLIGHT", str(in_flight))
        monkeypatch.setenv("MHCS_THROTTLE_MAX_PER_SECOND", str(per_second))
        if by_variable:
            throttle = "mhcs.throttle:Throttle"
            monkeypatch.setenv("CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE", throttle)

    return set_limits


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "model")
        folder.parent.chmod(0o755)
        folder.mkdir()
        yield folder
