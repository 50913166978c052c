"""The adapter header on decorated routes other than /invocations."""

from __future__ import annotations

from typing import Any, Final

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel

from fixtures import Includer, copy_flat, include, include_nested
from invocations_app import ADAPTER
from model_hosting_container_standards import sagemaker

HEADER: Final = {ADAPTER: "fr"}


class Text(BaseModel):
    text: str
    model: str | None = None


@sagemaker.inject_adapter_id("model")
async def generate(text: Text, raw_request: Request) -> Any:
    return [text.model, await raw_request.json()]


def client_of(app: FastAPI) -> TestClient:
    return TestClient(sagemaker.bootstrap(app))


@pytest.mark.parametrize("includer", [include, include_nested, copy_flat])
def test_header_counts_on_decorated_routes(includer: Includer) -> None:
    app, router = FastAPI(), APIRouter()
    router.post("/tenants/{tenant}/generate")(generate)
    includer(app, router)
    client = client_of(app)
    path = "/tenants/blue/generate"
    body = {"text": "hi", "model": "base"}
    assert client.post(path, json=body).json() == ["base", body]
    answer = client.post(path, json=body, headers=HEADER)
    assert answer.json() == ["fr", {**body, "model": "fr"}]
    refused = client.post(path, content=b"no json", headers=HEADER)
    assert refused.status_code == 400
    assert "needs a request body that is a JSON object" in refused.json()["detail"]


def test_header_counts_on_mounted_apps() -> None:
    app, inner = FastAPI(), FastAPI()
    inner.post("/generate")(generate)
    app.mount("/inner", inner)
    answer = client_of(app).post("/inner/generate", json={"text": ""}, headers=HEADER)
    assert answer.json()[0] == "fr"


def test_id_is_appended_once_on_each_route() -> None:
    @sagemaker.inject_adapter_id("model", append=True, separator=":")
    async def invocations(request: Request) -> Any:
        return await request.json()

    app = FastAPI()
    app.post("/invocations")(invocations)
    app.post("/generate")(invocations)
    client = client_of(app)
    for path in ("/invocations", "/generate"):
        answer = client.post(path, json={"model": "base"}, headers=HEADER)
        assert answer.json() == {"model": "base:fr"}


def test_route_that_answers_instead_of_the_decorated_one_gets_no_id() -> None:
    async def other(request: Request) -> Any:
        return await request.json()

    app = FastAPI()
    app.post("/generate")(other)
    app.post("/{anything}")(generate)
    client = client_of(app)
    body = {"text": "hi"}
    assert client.post("/generate", json=body, headers=HEADER).json() == body
    assert client.post("/chat", json=body, headers=HEADER).json()[0] == "fr"
    assert client.get("/chat", headers=HEADER).status_code == 405
