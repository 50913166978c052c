"""vLLM's errors for unknown models, in the formats of all releases."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.datastructures import State

from mhcs.vllm.adapters import VLLMAdapters
from model_hosting_container_standards.adapters.unknown_model import UnknownModels


def refusal(code: int, message: str = "vLLM's own") -> Any:
    return SimpleNamespace(code=code, message=message)


class Serving:
    """The serving class of a route; ``answer`` is its result for unknown names."""

    def __init__(self, answer: Any, names: Any = ()) -> None:
        self.models = SimpleNamespace(
            base_model_paths=[SimpleNamespace(name="tiny"), SimpleNamespace(name="t")],
            lora_requests={name: object() for name in names},
        )
        self.answer = answer

    def _is_model_supported(self, name: str | None) -> bool:
        return not name or name in ("tiny", "t")

    async def _check_model(self, request: Any, raw_request: Any = None) -> Any:
        if self._is_model_supported(request.model):
            return None
        return None if request.model in self.models.lora_requests else self.answer


class ListServing(Serving):
    """The class in releases whose registry is a list."""

    def __init__(self, answer: Any, names: Any = ()) -> None:
        super().__init__(answer)
        entries = [SimpleNamespace(lora_name=name) for name in names]
        self.models.lora_requests = entries

    async def _check_model(self, request: Any, raw_request: Any = None) -> Any:
        names = [entry.lora_name for entry in self.models.lora_requests]
        return None if request.model in ("tiny", *names) else self.answer


def prepared(serving: Serving) -> Serving:
    app = FastAPI()
    app.state.serving = serving
    app.state.args = SimpleNamespace(port=1)
    backend = VLLMAdapters(app)
    for _ in range(2):  # Like an app that is started twice.
        backend.prepare()
    return serving


def check(serving: Serving, name: str | None) -> tuple[Any, Any]:
    """Return the result of the check of a name, and the request's model after it."""
    request = SimpleNamespace(model=name)
    return asyncio.run(serving._check_model(request)), request.model


@pytest.mark.parametrize("kind", [Serving, ListServing])
@pytest.mark.parametrize("nested", [True, False])
def test_404_lists_all_models(kind: type[Serving], nested: bool) -> None:
    error = refusal(404)
    answer = SimpleNamespace(error=error) if nested else error
    serving = prepared(kind(answer, ["fr", "de"]))
    assert check(serving, "x") == (answer, "x")
    assert error.message == (
        "The model `x` does not exist. Valid aliases: tiny, t, fr, de."
    )


def test_long_list_is_truncated() -> None:
    error = refusal(404)
    check(prepared(Serving(error, [f"a{n}" for n in range(100)])), "x")
    assert error.message.endswith(", a47 and 52 more.")


def test_late_pooling_404_lists_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class VLLMNotFoundError(Exception):
        pass

    module: Any = ModuleType("vllm")
    module.exceptions = SimpleNamespace(VLLMNotFoundError=VLLMNotFoundError)
    monkeypatch.setitem(sys.modules, "vllm", module)
    serving = prepared(Serving(None, ["fr"]))
    with pytest.raises(VLLMNotFoundError, match="aliases: tiny, t, fr"):
        check(serving, "x")


@pytest.mark.parametrize("name", ["tiny", "t", "fr", "", None])
def test_known_model_is_passed_on(name: str | None) -> None:
    assert check(prepared(Serving(refusal(404), ["fr"])), name) == (None, name)


def test_other_errors_are_unchanged() -> None:
    error = refusal(400, "found, but it cannot be loaded")
    with UnknownModels().allowed():
        assert check(prepared(Serving(error)), "x") == (error, "x")
    assert error.message == "found, but it cannot be loaded"


@pytest.mark.parametrize("answer", [refusal(404), None])
@pytest.mark.parametrize("kind", [Serving, ListServing])
def test_base_model_answers_if_configured(kind: type[Serving], answer: Any) -> None:
    serving = prepared(kind(answer, ["fr"]))
    with UnknownModels().allowed():
        assert check(serving, "my-endpoint") == (None, "tiny")
        assert check(serving, "fr") == (None, "fr")


def test_other_state_is_unchanged() -> None:
    app = FastAPI()
    app.state.number = 1
    app.state.other = SimpleNamespace(_check_model=None)
    VLLMAdapters(app).prepare()
    assert app.state.other._check_model is None
    assert isinstance(app.state, State)
