"""The hooks on a module that is laid out as SGLang's server is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Form, Request, UploadFile
from fastapi.testclient import TestClient

from mhcs.sglang import engine, hooks
from mhcs.sglang.plugin import activate


class Arguments:
    """SGLang's ``ServerArgs``."""

    def __init__(self, workers: int = 1, api_key: str | None = None) -> None:
        self.tokenizer_worker_num = workers
        self.api_key = api_key
        self.enable_http2 = False


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MHCS_STRICT", "1")
    monkeypatch.delenv(hooks.APP_PATH, raising=False)
    module: Any = ModuleType(hooks.SERVER_MODULE)
    module.app = FastAPI()
    module.requests = ModuleType("requests")
    module.ran = []
    monkeypatch.setitem(sys.modules, hooks.SERVER_MODULE, module)
    yield module
    os.environ.pop(hooks.APP_PATH, None)


def add_function(module: Any, name: str) -> Any:
    """Add a function that runs a server to the module, patch it and return it."""

    def run(server_args: Arguments) -> str:
        module.ran.append(server_args)
        return "ended"

    run.__module__ = module.__name__
    setattr(module, name, run)
    hooks._patch_server(module)
    hooks._patch_server(module)
    return getattr(module, name)


@pytest.mark.parametrize("name", hooks.RUN_SERVER)
def test_app_is_bootstrapped_before_the_server_runs(module: Any, name: str) -> None:
    run = add_function(module, name)
    arguments = Arguments(api_key="key")
    assert run(server_args=arguments) == "ended"
    assert module.ran == [arguments]
    assert engine.owns(module.app)
    assert [*engine.api_keys(module.app)] == ["key"]
    assert "/adapters" in {getattr(r, "path", "") for r in module.app.routes}


def test_importing_the_server_bootstraps_nothing(module: Any) -> None:
    add_function(module, hooks.RUN_SERVER[0])
    assert "/adapters" not in {getattr(r, "path", "") for r in module.app.routes}
    assert [*engine.api_keys(module.app)] == []


def test_several_workers_bootstrap_their_own_apps(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = []
    uvicorn: Any = ModuleType("uvicorn")
    uvicorn.run = lambda app, **options: served.append(app)
    monkeypatch.setitem(sys.modules, "uvicorn", uvicorn)
    run = add_function(module, hooks.RUN_SERVER[0])
    run(Arguments(workers=2))
    assert os.environ[hooks.APP_PATH] == hooks.OUR_APP
    # As releases do up to 0.5.22, and as another program in this process may do.
    sys.modules["uvicorn"].run(f"{hooks.SERVER_MODULE}:app", workers=2)
    sys.modules["uvicorn"].run("other:app")
    assert served == [hooks.OUR_APP, "other:app"]


@pytest.mark.parametrize("newest", [False, True])
def test_workers_with_http2_are_reported_up_to_0_5_22(
    module: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    newest: bool,
) -> None:
    environ: Any = ModuleType("sglang.srt.environ")
    environ.envs = SimpleNamespace(**{hooks.APP_PATH: None} if newest else {})
    monkeypatch.setitem(sys.modules, environ.__name__, environ)
    arguments = Arguments(workers=2)
    arguments.enable_http2 = True
    add_function(module, hooks.RUN_SERVER[0])(arguments)
    assert (hooks.HTTP2_PROBLEM in caplog.text) is not newest


def test_server_with_unknown_functions_is_reported(module: Any) -> None:
    with pytest.raises(LookupError, match="use a release of SGLang"):
        hooks._patch_server(module)


def test_rust_server_is_reported(
    module: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(hooks.RUST_SERVER, "true")
    assert [*engine.problems()] == [hooks.RUST_PROBLEM]
    add_function(module, hooks.RUN_SERVER[0])
    assert hooks.RUST_PROBLEM in caplog.text


@pytest.mark.parametrize(
    ("folder", "plugins", "expected"),
    [
        ("srt/plugins", "", True),
        ("srt/plugins", "other, mhcs", True),
        ("srt/plugins", "other", False),
        ("srt", "", False),
    ],
)
def test_releases_with_plugins_are_known(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folder: str,
    plugins: str,
    expected: bool,
) -> None:
    (tmp_path / "sglang" / folder).mkdir(parents=True)
    (tmp_path / "sglang" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sglang", raising=False)
    monkeypatch.setenv("SGLANG_PLUGINS", plugins)
    assert engine.loads_plugins() is expected


def test_adapters_need_the_key_that_loading_needs(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth: Any = ModuleType(hooks.AUTH_MODULE)
    auth.AuthLevel = SimpleNamespace(ADMIN_OPTIONAL="admin_optional")
    monkeypatch.setitem(sys.modules, hooks.AUTH_MODULE, auth)
    add_function(module, hooks.RUN_SERVER[0])(Arguments())
    levels = {
        route.path: getattr(route.endpoint, "_auth_level", None)
        for route in module.app.routes
    }
    assert levels["/adapters"] == "admin_optional"
    assert levels["/openapi.json"] is None


def test_routes_without_a_request_model_run_a_model_too() -> None:
    app = FastAPI()

    async def transcribe(file: UploadFile, model: Annotated[str, Form()]) -> None:
        """Answer nothing."""

    async def encode(request: Request) -> None:
        """Answer nothing."""

    app.post("/v1/audio/transcriptions")(transcribe)
    app.api_route("/encode", methods=["POST", "PUT"])(encode)
    app.get("/classify")(encode)
    app.post("/flush_cache")(encode)
    assert engine.inference_paths(app) == {"/v1/audio/transcriptions", "/encode"}


@pytest.mark.parametrize("name", hooks.OTHER_SERVERS)
def test_servers_without_this_app_are_reported(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooks._report(ModuleType(name))
    assert "cannot be added" in caplog.text


def test_key_is_not_required_for_ping(module: Any) -> None:
    auth: Any = ModuleType(hooks.AUTH_MODULE)

    def add_api_key_middleware(app: FastAPI, *, api_key: str) -> None:
        @app.middleware("http")
        async def check(request: Any, call_next: Any) -> Any:
            from starlette.responses import Response

            if request.headers.get("authorization") == f"Bearer {api_key}":
                return await call_next(request)
            return Response(status_code=401)

    auth.add_api_key_middleware = add_api_key_middleware
    hooks._patch_auth(auth)
    hooks._patch_auth(auth)
    module.app.get("/ping")(lambda: None)
    module.app.get("/x")(lambda: None)
    auth.add_api_key_middleware(module.app, api_key="key")
    with TestClient(module.app) as client:
        assert client.get("/ping").status_code == 200
        assert client.get("/x").status_code == 401
        key = {"Authorization": "Bearer key"}
        assert client.get("/x", headers=key).status_code == 200


def test_own_key_is_sent_by_the_warm_up(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MHCS_API_KEY", "ours")
    original = module.requests
    add_function(module, hooks.RUN_SERVER[0])(Arguments())
    assert module.requests is not original


@pytest.mark.parametrize(
    ("env", "count"),
    [({}, 1), ({"MHCS_AUTO": "0"}, 0), ({"MHCS_DISABLE": "*"}, 0)],
)
def test_plugin_patches_unless_it_is_disabled(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], count: int
) -> None:
    patched = []
    monkeypatch.setattr(hooks, "patch", lambda: patched.append(1))
    for name, value in {"MHCS_DISABLE": "vllm,tensorrt_llm", **env}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "mhcs.auto", raising=False)
    activate()
    activate()
    assert len(patched) == count
