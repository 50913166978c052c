from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI

from mhcs import auto
from mhcs.tensorrt_llm import hooks as trtllm_hooks
from mhcs.vllm import hooks
from model_hosting_container_standards.app.bootstrap import is_bootstrapped
from model_hosting_container_standards.exceptions import ConfigurationError


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the patched engines."""
    names: list[str] = []
    monkeypatch.setattr(hooks, "patch", lambda: names.append("vllm"))
    return names


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MHCS_AUTO", "", ["vllm"]),
        ("MHCS_AUTO", "1", ["vllm"]),
        ("MHCS_AUTO", "0", []),
        ("MHCS_DISABLE", "vllm", []),
        ("MHCS_DISABLE", "*", []),
        ("MHCS_DISABLE", "tensorrt_llm", ["vllm"]),
    ],
)
def test_engines_are_patched_unless_they_are_disabled(
    monkeypatch: pytest.MonkeyPatch,
    patched: list[str],
    name: str,
    value: str,
    expected: list[str],
) -> None:
    monkeypatch.setenv(name, value)
    auto.patch_engines()
    assert patched == expected


def test_bad_switch_is_logged_and_patches_nothing(
    monkeypatch: pytest.MonkeyPatch,
    patched: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MHCS_AUTO", "banana")
    auto.patch_engines()
    assert patched == []
    assert "MHCS_AUTO='banana' is not allowed" in caplog.text
    monkeypatch.setenv("MHCS_STRICT", "1")
    with pytest.raises(ConfigurationError):
        auto.patch_engines()


def test_failed_patch_leaves_engine_unchanged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("new release")

    monkeypatch.setattr(hooks, "patch", broken)
    auto.patch_engines()
    assert "vllm serves without SageMaker's routes" in caplog.text


def test_rust_server_is_reported_once_for_all_processes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    hooks.patch()
    assert caplog.text.count("VLLM_USE_RUST_FRONTEND") == 1
    monkeypatch.setattr(multiprocessing.current_process(), "name", "EngineCore")
    hooks.patch()
    assert caplog.text.count("VLLM_USE_RUST_FRONTEND") == 1


def module_with(**functions: Any) -> ModuleType:
    """Return a module that defines ``functions``."""
    module = ModuleType("vllm.testing")
    for name, function in functions.items():
        function.__module__ = module.__name__
        setattr(module, name, function)
    return module


def test_build_app_result_is_bootstrapped_once() -> None:
    def build_app(args: object) -> FastAPI:
        return FastAPI(title=str(args))

    module = module_with(build_app=build_app)
    hooks._patch_build_app(module)
    once = module.build_app
    hooks._patch_build_app(module)
    assert module.build_app is once
    app = module.build_app("args")
    assert app.title == "args"
    assert is_bootstrapped(app)


@pytest.mark.parametrize("by_name", [True, False])
def test_app_of_serve_http_is_bootstrapped(by_name: bool) -> None:
    served = []

    async def serve_http(app: FastAPI, **options: object) -> None:
        served.append(is_bootstrapped(app))

    module = module_with(serve_http=serve_http)
    hooks._patch_serve_http(module)
    app = FastAPI()
    serving = module.serve_http(app=app) if by_name else module.serve_http(app, x=1)
    for _ in serving.__await__():
        pass
    assert served == [True]


def test_error_of_build_app_is_raised() -> None:
    def build_app() -> FastAPI:
        raise ValueError("the engine's own")

    module = module_with(build_app=build_app)
    hooks._patch_build_app(module)
    with pytest.raises(ValueError, match="the engine's own"):
        module.build_app()


def test_imported_functions_are_patched_where_defined() -> None:
    module = ModuleType("vllm.shim")
    module.build_app = FastAPI  # type: ignore[attr-defined]
    hooks._patch_build_app(module)
    assert module.build_app is FastAPI


def test_module_without_build_app_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hooks._patch_build_app(ModuleType("vllm.future"))
    hooks._patch_serve_http(ModuleType("vllm.future"))
    assert caplog.text.count("/ping and /invocations will be missing") == 2


class Immutable(type):
    """The type of classes whose attributes cannot be set, as of compiled ones."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise TypeError(f"cannot set {name!r} of an immutable type")


class Request(metaclass=Immutable):
    def __post_init__(self) -> None:
        """Check the path."""


@pytest.mark.parametrize(
    ("patch", "name", "found"),
    [
        (trtllm_hooks._patch_lora_request, "LoRARequest", Request),
        (trtllm_hooks._patch_lora_request, "LoRARequest", "another.LoRARequest"),
        (trtllm_hooks._report_disaggregated, "OpenAIDisaggServer", Request),
    ],
)
def test_unknown_tensorrt_llm_release_is_still_imported(
    patch: Callable[[ModuleType], None],
    name: str,
    found: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module = ModuleType("tensorrt_llm.another")
    setattr(module, name, found)
    patch(module)
    assert "Patching tensorrt_llm.another failed: TypeError" in caplog.text
