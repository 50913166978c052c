"""The contract's routes on a server without customer code."""

from __future__ import annotations

import subprocess
from typing import Any

import openai
import pytest

from servers import Server

from .engines import EngineUnderTest
from .requests import (
    ATTRIBUTES,
    JSON_TYPE,
    ROUTES,
    SESSION,
    chat,
    completion,
    request,
    streamed_text,
    text_of,
)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_ping_answers_get_head_and_post(server: Server, method: str) -> None:
    assert server.client.request(method, "/ping").status_code == 200


def test_ping_rejects_other_methods(server: Server) -> None:
    assert server.client.put("/ping").status_code == 405


@pytest.mark.parametrize("kind", ROUTES)
def test_invocations_answers_like_route_that_fits_body(
    server: Server, engine: EngineUnderTest, kind: str
) -> None:
    body = request(kind, engine)
    ours, theirs = (
        server.client.post(path, json=body) for path in ("/invocations", ROUTES[kind])
    )
    assert text_of(ours) == text_of(theirs) != ""
    assert ours.json()["object"] == theirs.json()["object"]


@pytest.mark.parametrize("kind", ROUTES)
@pytest.mark.parametrize("model", [{}, {"model": ""}, {"model": None}])
def test_body_without_model_uses_base_model(
    server: Server, engine: EngineUnderTest, kind: str, model: dict[str, Any]
) -> None:
    body = request(kind, engine)
    expected = text_of(server.client.post(ROUTES[kind], json=body))
    del body["model"]
    for path in (ROUTES[kind], "/invocations"):
        answer = server.client.post(path, json={**body, **model})
        assert text_of(answer) == expected


@pytest.mark.parametrize("kind", ROUTES)
def test_stream_matches_whole_response(
    server: Server, engine: EngineUnderTest, kind: str
) -> None:
    body = request(kind, engine)
    whole = text_of(server.client.post(ROUTES[kind], json=body))
    streamed = {**body, "stream": True}
    with server.client.stream("POST", "/invocations", json=streamed) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [*answer.iter_lines()]
    assert streamed_text(lines) == whole
    assert len([line for line in lines if line]) > 2


def test_openai_client_works_unchanged(server: Server, engine: EngineUnderTest) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        models = [model.id for model in client.models.list()]
        assert engine.model in models
        body: dict[str, Any] = chat(engine)
        answer: Any = client.chat.completions.create(**body)
        assert answer.choices[0].message.content
        parts: Any = client.chat.completions.create(**body, stream=True)
        text = "".join(p.choices[0].delta.content or "" for p in parts if p.choices)
        assert text == answer.choices[0].message.content


def test_openai_client_can_call_invocations(
    server: Server, engine: EngineUnderTest
) -> None:
    with openai.OpenAI(base_url=server.url, api_key="none") as client:
        answer = client.post(
            "/invocations", body=chat(engine), cast_to=openai.types.chat.ChatCompletion
        )
    assert answer.choices[0].message.content


def test_curl_can_call_invocations(server: Server, engine: EngineUnderTest) -> None:
    body = f'{{"model": "{engine.model}", "prompt": "hello", "max_tokens": 4}}'
    curl = ["curl", "-sS", "--noproxy", "*", f"{server.url}/invocations"]
    with_type = [*curl, "-H", "Content-Type: application/json", "-d", body]
    printed = subprocess.run(with_type, capture_output=True, check=True, text=True)
    assert '"choices"' in printed.stdout


@pytest.mark.parametrize("change", [{"prompt": None}, {"max_tokens": "many"}])
def test_engine_still_validates_requests(
    server: Server, engine: EngineUnderTest, change: dict[str, Any]
) -> None:
    body = completion(engine, **change)
    # Ray's errors have the id.
    headers = {"X-Request-Id": "the-same"}
    ours, theirs = (
        server.client.post(path, json=body, headers=headers)
        for path in ("/invocations", "/v1/completions")
    )
    assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())
    assert 400 <= ours.status_code < 500


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[1, 2]", b"", b"null", b'"prompt"', b'{"x": "hello"}']
)
def test_invalid_body_is_a_400(server: Server, body: bytes) -> None:
    answer = server.client.post("/invocations", content=body, headers=JSON_TYPE)
    assert answer.status_code == 400, answer.text
    assert server.client.get("/ping").status_code == 200


def test_route_attribute_selects_route(server: Server, engine: EngineUnderTest) -> None:
    headers = {ATTRIBUTES: "a=b, route=/v1/chat/completions"}
    answer = server.client.post("/invocations", json=chat(engine), headers=headers)
    assert answer.json()["object"] == "chat.completion"
    # The attribute overrides the body: that route needs messages, not a prompt.
    body = completion(engine)
    wrong = server.client.post("/invocations", json=body, headers=headers)
    assert wrong.status_code == 400


@pytest.mark.parametrize(
    "route", ["/v1/models", "/health", "/metrics", "/v1/load_lora_adapter", ""]
)
def test_only_inference_routes_can_be_selected(
    server: Server, engine: EngineUnderTest, route: str
) -> None:
    headers = {ATTRIBUTES: f"route={route}"}
    answer = server.client.post("/invocations", json=chat(engine), headers=headers)
    assert answer.status_code == 400
    assert "/v1/completions" in answer.text


def test_sessions_are_off_by_default(server: Server, engine: EngineUnderTest) -> None:
    creating = server.client.post("/invocations", json={"requestType": "NEW_SESSION"})
    using = server.client.post(
        "/invocations", json=completion(engine), headers={SESSION: "a"}
    )
    for answer in (creating, using):
        assert answer.status_code == 400
        assert "stateful sessions not enabled" in answer.text
