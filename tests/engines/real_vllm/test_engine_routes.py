"""The contract's routes and vLLM's own routes on ``vllm serve``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from engine_metrics import VLLM
from metrics_page import scrape
from real import (
    ADAPTER,
    CHAT,
    COMPLETION,
    KEEPS_BASE_MODEL,
    REFUSES_BAD_JSON,
    REFUSES_BAD_TEXT,
    REFUSES_LISTS,
    RELEASE,
    adapter_path,
    complete,
    reason,
    requires_vllm,
    serve,
)
from servers import Server

pytestmark = requires_vllm

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    env = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "MHCS_AUTO": "1",
        "MHCS_UNKNOWN_MODEL": "base",
    }
    static = f"static={adapter_path('adapter-b')}"
    with serve("--lora-modules", static, env=env) as server:
        yield server


def test_completion_matches_v1_route(server: Server) -> None:
    assert complete(server, "/invocations") == complete(server, "/v1/completions")


def test_chat_matches_v1_route(server: Server) -> None:
    ours, theirs = (
        server.client.post(path, json=CHAT).json()["choices"][0]["message"]["content"]
        for path in ("/invocations", "/v1/chat/completions")
    )
    assert ours == theirs


def test_model_without_realtime_has_no_bidirectional_stream(server: Server) -> None:
    url = f"ws://127.0.0.1:{server.port}/invocations-bidirectional-stream"
    with pytest.raises(InvalidStatus) as refused, connect(url, proxy=None):
        pass
    assert refused.value.response.status_code == 404
    assert b"an engine with /v1/realtime" in refused.value.response.body


def test_chat_is_streamed(server: Server) -> None:
    body = {**CHAT, "stream": True}
    with server.client.stream("POST", "/invocations", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line for line in answer.iter_lines() if line]
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
    whole = server.client.post("/invocations", json=CHAT).json()
    assert text == whole["choices"][0]["message"]["content"]
    assert len(chunks) > 2


def test_openai_client_works_unchanged(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    with client:
        assert [model.id for model in client.models.list()] == ["tiny", "static"]
        answer: Any = client.completions.create(**COMPLETION)  # type: ignore[call-overload]
        assert answer.model == "tiny"


@pytest.mark.skipif(RELEASE < (0, 11), reason="earlier releases have other names")
def test_metrics_of_dashboard_exist(server: Server) -> None:
    complete(server, "/invocations")
    assert scrape(server.client).names() >= VLLM


def test_base_model_answers_for_unknown_model(server: Server) -> None:
    """On /invocations only, and not for a name in the header."""
    body = {**COMPLETION, "model": "my-endpoint"}
    for _ in range(2):
        answer = server.client.post("/invocations", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == "tiny"
    assert server.output().count("Model 'my-endpoint' does not exist") == 1
    for path, headers in (
        ("/v1/completions", {}),
        ("/invocations", {ADAPTER: "unknown"}),
        ("/v1/completions", {ADAPTER: "unknown"}),
    ):
        answer = server.client.post(path, json=body, headers=headers)
        assert answer.status_code == 404, answer.text
        assert "static" in answer.text


def test_ping_answers_get_head_and_post(server: Server) -> None:
    for method in ("GET", "HEAD", "POST"):
        assert server.client.request(method, "/ping").status_code == 200
    assert server.client.put("/ping").status_code == 405


def test_engine_still_validates_requests(server: Server) -> None:
    for path in ("/invocations", "/v1/completions"):
        answer = server.client.post(path, content="{}", headers={"content-type": "x/y"})
        assert answer.status_code in (400, 415), answer.text
        assert "application/json" in reason(answer.json())


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"{", REFUSES_BAD_JSON),
        (b"", REFUSES_BAD_JSON),
        (b"\xff", REFUSES_BAD_TEXT),
        (b"[1, 2]", REFUSES_LISTS),
    ],
)
def test_broken_body_is_a_client_error(
    server: Server, body: bytes, refused: bool
) -> None:
    # On a separate connection, because the server closes it after an exception.
    headers = {"content-type": "application/json", "connection": "close"}
    answer = server.client.post("/invocations", content=body, headers=headers)
    assert answer.status_code == (400 if refused else 500), answer.text


def test_adapter_header_selects_adapter(server: Server) -> None:
    base = complete(server, "/invocations")
    body = {"name": "mine", "src": adapter_path("adapter-a")}
    loaded = server.client.post("/adapters", json=body)
    assert (loaded.status_code, loaded.text) == (200, "Adapter mine registered")

    by_header = complete(server, "/invocations", adapter="mine")
    assert by_header == complete(server, "/v1/completions", model="mine") != base

    removed = server.client.delete("/adapters/mine")
    assert (removed.status_code, removed.text) == (200, "Adapter mine unregistered")
    headers = {ADAPTER: "mine"}
    missing = server.client.post("/invocations", json=COMPLETION, headers=headers)
    assert missing.status_code == 404
    if KEEPS_BASE_MODEL:
        assert complete(server, "/invocations") == base


def test_vllms_own_adapters_coexist_with_ours(server: Server) -> None:
    client = server.client
    by_header = complete(server, "/invocations", adapter="static")
    assert by_header == complete(server, "/v1/completions", model="static")
    body = {"name": "static", "src": adapter_path("adapter-a")}
    assert client.post("/adapters", json=body).status_code == 409
    native = {"lora_name": "native", "lora_path": adapter_path("adapter-b")}
    assert client.post("/v1/load_lora_adapter", json=native).status_code == 200
    ours = {"name": "ours", "src": adapter_path("adapter-a")}
    assert client.post("/adapters", json=ours).status_code == 200
    models = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert models == ["tiny", "static", "native", "ours"]
    assert complete(server, "/invocations", adapter="native") == by_header
    for name, status in (("ours", 409), ("native", 200)):
        answer = client.post("/v1/unload_lora_adapter", json={"lora_name": name})
        assert answer.status_code == status, answer.text
    assert client.delete("/adapters/ours").status_code == 200


def test_adapter_errors_have_distinct_statuses(server: Server) -> None:
    missing = {"name": "x", "src": "/no/such/folder"}
    assert server.client.post("/adapters", json=missing).status_code == 404
    assert server.client.post("/adapters", json={"name": "x"}).status_code == 400
    assert server.client.delete("/adapters/unknown").status_code == 404


def test_route_attribute_selects_route(server: Server) -> None:
    headers = {ATTRIBUTES: "route=/v1/chat/completions"}
    answer = server.client.post("/invocations", json=CHAT, headers=headers)
    assert answer.json()["object"] == "chat.completion"
    # The attribute overrides the body: that route needs messages, not a prompt.
    wrong = server.client.post("/invocations", json=COMPLETION, headers=headers)
    assert wrong.status_code == 400


def test_route_outside_v1_can_be_selected(server: Server) -> None:
    body = {"model": "tiny", "prompt": "hello"}
    headers = {ATTRIBUTES: "route=/tokenize"}
    ours = server.client.post("/invocations", json=body, headers=headers)
    assert ours.status_code == 200
    assert ours.json()["count"] == len(ours.json()["tokens"])
    assert ours.json() == server.client.post("/tokenize", json=body).json()


@pytest.mark.parametrize(
    "route",
    ["/v1/models", "/health", "/v1/load_lora_adapter", "/adapters", "/invocations"],
)
def test_only_inference_routes_can_be_selected(server: Server, route: str) -> None:
    headers = {ATTRIBUTES: f"route={route}"}
    answer = server.client.post("/invocations", json=CHAT, headers=headers)
    assert answer.status_code == 400
    assert "/v1/completions" in answer.text


def test_sessions_are_off_by_default(server: Server) -> None:
    creating = server.client.post("/invocations", json={"requestType": "NEW_SESSION"})
    using = server.client.post(
        "/invocations", json=COMPLETION, headers={"X-Amzn-SageMaker-Session-Id": "a"}
    )
    for answer in (creating, using):
        assert answer.status_code == 400
        assert "stateful sessions not enabled" in answer.text


def test_log_names_handler_of_each_route(server: Server) -> None:
    for path in ("/ping", "/invocations"):
        assert server.output().count(f"{path} is answered by") == 1
    assert "vllm's own route" in server.output()
