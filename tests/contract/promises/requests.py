"""Requests of clients, and the texts of responses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import httpx

from .engines import EngineUnderTest

ADAPTER: Final = "X-Amzn-SageMaker-Adapter-Identifier"
ALIAS: Final = "X-Amzn-SageMaker-Adapter-Alias"
ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"
SESSION: Final = "X-Amzn-SageMaker-Session-Id"
JSON_TYPE: Final = {"content-type": "application/json"}

#: Each kind of request that ``/invocations`` accepts, and the route that handles it.
ROUTES: Final = {"completion": "/v1/completions", "chat": "/v1/chat/completions"}


def completion(engine: EngineUnderTest, **fields: Any) -> dict[str, Any]:
    """Return a request with greedy sampling: equal requests have equal responses."""
    greedy = {"model": engine.model, "max_tokens": 8, "temperature": 0}
    return {**greedy, "prompt": "hello", **fields}


def chat(engine: EngineUnderTest, **fields: Any) -> dict[str, Any]:
    body = completion(engine, messages=[{"role": "user", "content": "hello"}], **fields)
    del body["prompt"]
    return body


def request(kind: str, engine: EngineUnderTest, **fields: Any) -> dict[str, Any]:
    return {"completion": completion, "chat": chat}[kind](engine, **fields)


def text_of(answer: httpx.Response) -> str:
    """Return the text of a completion or chat, whose status must be 200."""
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    text: str = choice["text"] if "text" in choice else choice["message"]["content"]
    return text


def streamed_text(lines: Iterable[str]) -> str:
    """Return the text of a stream of events, which must end with ``[DONE]``."""
    events = [line.removeprefix("data: ") for line in lines if line]
    assert events[-1] == "[DONE]"
    choices = [c for event in events[:-1] for c in json.loads(event)["choices"]]
    return "".join(
        choice["text"] if "text" in choice else choice["delta"].get("content") or ""
        for choice in choices
    )


def ask(
    client: httpx.Client,
    engine: EngineUnderTest,
    path: str = "/invocations",
    adapter: str = "",
    **fields: Any,
) -> httpx.Response:
    """Request a completion; ``adapter`` is the value of the adapter header."""
    headers = {ADAPTER: adapter} if adapter else {}
    return client.post(path, json=completion(engine, **fields), headers=headers)


def register(
    client: httpx.Client, name: str, src: str, **fields: Any
) -> httpx.Response:
    return client.post("/adapters", json={"name": name, "src": src, **fields})
