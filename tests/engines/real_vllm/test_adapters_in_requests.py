"""Selection of the adapter on all inference routes of a real vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import pytest

from metrics_page import scrape
from real import ADAPTER, requires_vllm
from servers import polling

from .conftest import Deployment

pytestmark = requires_vllm

MESSAGES: Final = [{"role": "user", "content": "hello"}]
#: A request without a model for each inference route. Not every release has all.
ROUTES: Final[dict[str, dict[str, Any]]] = {
    "/invocations": {"prompt": "hello", "max_tokens": 2},
    "/v1/completions": {"prompt": "hello", "max_tokens": 2},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 2},
    "/v1/chat/completions/batch": {"messages": [MESSAGES], "max_tokens": 2},
    "/v1/responses": {"input": "hello", "max_output_tokens": 2},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 2},
}
LONG: Final = {"max_tokens": 64, "ignore_eos": True, "temperature": 0}
BEAMS: Final = {"use_beam_search": True, "n": 3}
#: Requests for which vLLM generates several times: per token of a beam, or per prompt.
REQUESTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "completion": ("/v1/completions", {"prompt": "hello", **BEAMS}),
    "invocation": ("/invocations", {"prompt": "hello", **BEAMS}),
    "chat": ("/v1/chat/completions", {"messages": MESSAGES, **BEAMS}),
    "prompts": ("/v1/completions", {"prompt": ["hello", "the lazy dog", "some"]}),
}


@pytest.fixture
def client(deployment: Deployment) -> Iterator[httpx.Client]:
    """A client whose requests may reach any process."""
    with deployment.new_client() as client:
        yield client


def register(client: httpx.Client, src: str, **fields: Any) -> None:
    body = {"name": "one", "src": src, **fields}
    answer = client.post("/adapters", json=body)
    assert answer.status_code == 200, answer.text


def texts(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    choices = answer.json()["choices"]
    return [c["text"] if "text" in c else c["message"]["content"] for c in choices]


def paths(client: httpx.Client) -> list[str]:
    served = client.get("/openapi.json").json()["paths"]
    return [path for path in ROUTES if path in served]


def generated(client: httpx.Client) -> float:
    """Return the number of tokens that vLLM has generated since its start."""
    return scrape(client).value("vllm:generation_tokens_total")


@pytest.mark.parametrize("end", ["DELETE", "replace"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_request_uses_one_adapter_until_finished(
    client: httpx.Client, kind: str, end: str
) -> None:
    register(client, "adapter-a")
    path, fields = REQUESTS[kind]
    body = {**fields, **LONG, "model": "one"}
    undisturbed = texts(client.post(path, json=body))
    before = generated(client)
    with ThreadPoolExecutor() as threads:
        request = threads.submit(client.post, path, json=body)
        for _ in polling(60, 0.02):
            if generated(client) > before:
                break
        if end == "DELETE":
            ended = client.delete("/adapters/one")
        else:
            body = {"name": "one", "src": "adapter-b", "load_inplace": True}
            ended = client.post("/adapters", json=body)
        assert texts(request.result()) == undisturbed
    assert ended.status_code == 200


@pytest.mark.parametrize("end", ["DELETE", "replace"])
def test_background_response_uses_one_adapter_until_finished(
    deployment: Deployment, client: httpx.Client, end: str
) -> None:
    if "/v1/responses" not in paths(client):
        pytest.skip("this release has no /v1/responses")
    register(client, "adapter-a")
    body = {"model": "one", "input": "hello", "max_output_tokens": 200}
    # On one connection, because only one process knows the response.
    url = deployment.server.url
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as same:
        undisturbed = same.post("/v1/responses", json={**body, "temperature": 0})
        background = {**body, "temperature": 0, "background": True}
        queued = same.post("/v1/responses", json=background)
        assert queued.status_code == 200, queued.text
        if end == "DELETE":
            ended = client.delete("/adapters/one")
        else:
            fields = {"name": "one", "src": "adapter-b", "load_inplace": True}
            ended = client.post("/adapters", json=fields)
        for _ in polling(60):
            response = same.get(f"/v1/responses/{queued.json()['id']}").json()
            if response["status"] not in ("queued", "in_progress"):
                break
    assert ended.status_code == 200
    assert response["status"] == undisturbed.json()["status"], response
    assert _said(response) == _said(undisturbed.json())


def _said(response: dict[str, Any]) -> str:
    text: str = response["output"][0]["content"][0]["text"]
    return text


@pytest.mark.parametrize("model", [{}, {"model": ""}, {"model": None}, {"model": "x"}])
def test_adapter_header_selects_adapter_on_every_route(
    client: httpx.Client, model: dict[str, Any]
) -> None:
    register(client, "adapter-a")
    for path in paths(client):
        body = {**ROUTES[path], **model}
        answer = client.post(path, json=body, headers={ADAPTER: "one"})
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json()["model"] == "one", path


@pytest.mark.parametrize("model", [{}, {"model": ""}, {"model": None}])
def test_body_without_model_uses_base_model_on_every_route(
    client: httpx.Client, model: dict[str, Any]
) -> None:
    register(client, "adapter-a")
    for path in paths(client):
        answer = client.post(path, json={**ROUTES[path], **model})
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json()["model"] == "tiny", path


def test_unknown_model_is_a_404_that_lists_known_models(
    client: httpx.Client,
) -> None:
    register(client, "adapter-a")
    for path in paths(client):
        answer = client.post(path, json={**ROUTES[path], "model": "unknown"})
        assert answer.status_code == 404, path
        assert "tiny, one" in answer.text, path
        body = {**ROUTES[path], "model": "one"}
        answer = client.post(path, json=body, headers={ADAPTER: "unknown"})
        assert answer.status_code == 404, path
        assert "'one'" in answer.text, path
