"""MHCS_UNKNOWN_MODEL=base: clients may send the endpoint's name as the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from adapter_engine import AdapterEngine, app_of, write_adapter
from invocations_app import ADAPTER, ATTRIBUTES
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.adapters.unknown_model import base_model_answers
from model_hosting_container_standards.exceptions import ConfigurationError

Start = Callable[..., TestClient]


class CheckingEngine(AdapterEngine):
    """Reject unknown names, as vLLM does."""

    def resolves_natively(self, name: str) -> bool:
        return True

    async def check_and_infer(self, model: str) -> str:
        assert self.adapters is not None
        if model == "base" or (
            self.adapters.find(model) is None and base_model_answers(model)
        ):
            return "base"
        if self.adapters.find(model) is None:
            raise HTTPException(404, f"The model {model} does not exist.")
        return await AdapterEngine(self.folder).answer(self.adapters.view()[model])


@pytest.fixture
def engine(tmp_path: Path) -> CheckingEngine:
    return CheckingEngine(tmp_path / "engine")


@pytest.fixture
def start(
    engine: CheckingEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Start]:
    started: list[TestClient] = []

    def begin(value: str = "base") -> TestClient:
        monkeypatch.setenv("MHCS_UNKNOWN_MODEL", value)
        monkeypatch.setenv("SAGEMAKER_CONTAINER_LOG_LEVEL", "WARNING")
        app = FastAPI()

        @app.post("/v1/completions")
        @app.post("/invocations")
        async def answer(body: dict[str, str]) -> str:
            return await engine.check_and_infer(body["model"])

        client = TestClient(app_of(engine, monkeypatch, app))
        client.__enter__()
        started.append(client)
        body = {"name": "fr", "src": write_adapter(tmp_path / "fr", "bonjour")}
        client.post("/adapters", json=body).raise_for_status()
        return client

    yield begin
    for client in started:
        client.__exit__()


def ask(
    client: TestClient, model: str, path: str = "/invocations", **headers: str
) -> Any:
    return client.post(path, json={"model": model}, headers=headers)


def test_unknown_model_is_a_404_by_default(start: Start) -> None:
    client = start("")
    assert ask(client, "my-endpoint").status_code == 404
    assert ask(client, "fr").json() == "bonjour"


def test_base_model_answers_for_unknown_model(start: Start) -> None:
    client = start("Base")
    assert ask(client, "my-endpoint").json() == "base"
    assert ask(client, "fr").json() == "bonjour"


def test_base_model_answers_on_invocations_only(start: Start) -> None:
    client = start()
    assert ask(client, "my-endpoint", "/v1/completions").status_code == 404
    route = {ATTRIBUTES: "route=/v1/completions"}
    assert ask(client, "my-endpoint", **route).json() == "base"


@pytest.mark.parametrize("path", ["/invocations", "/v1/completions"])
def test_base_model_never_answers_for_name_in_header(start: Start, path: str) -> None:
    assert ask(start(), "fr", path, **{ADAPTER: "de"}).status_code == 404


def test_base_model_answers_customers_handlers(
    start: Start, engine: CheckingEngine
) -> None:
    @sagemaker.invoke
    async def invoke(body: dict[str, str]) -> str:
        return await engine.check_and_infer(body["model"])

    client = start()
    assert ask(client, "my-endpoint").json() == "base"
    # Without a decorator the handler interprets the header itself.
    assert ask(client, "my-endpoint", **{ADAPTER: "de"}).status_code == 404


def test_unknown_model_is_logged_once_per_name(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    client = start()
    caplog.clear()
    for name in ("one", "two", "one", "fr", "base"):
        assert ask(client, name).status_code == 200
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split("'")[1] for line in lines] == ["one", "two"]


def test_many_unknown_names_do_not_fill_log_or_memory(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    client = start()
    caplog.clear()
    for number in range(150):
        assert ask(client, f"{number}{'x' * 10_000}").json() == "base"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 101
    assert max(map(len, lines)) < 500


@pytest.mark.parametrize("value", ["404", "true", "fr"])
def test_invalid_setting_stops_startup(start: Start, value: str) -> None:
    with pytest.raises(ConfigurationError, match="MHCS_UNKNOWN_MODEL.*use base"):
        start(value)
