"""The engine's own inference routes: the adapter header, and bodies without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Form, Request, UploadFile
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field, field_validator
from starlette.types import Message, Receive, Scope, Send

from adapter_engine import AdapterEngine, app_of, write_adapter
from invocations_app import ADAPTER, ATTRIBUTES
from model_hosting_container_standards.adapters.adapter import AdapterSpec
from model_hosting_container_standards.adapters.registry import AdapterRegistry
from model_hosting_container_standards.app.inference_routes import (
    DefaultModel,
    requires_field,
)
from model_hosting_container_standards.asgi.body import JSON_BODY, JSONBody
from model_hosting_container_standards.asgi.routing import request_scope


class Completion(BaseModel):
    model: str | None = None
    prompt: str = ""


class Anthropic(BaseModel):
    """A request model that requires a model's name."""

    model: Annotated[str, Field(max_length=300)]
    prompt: str = ""

    @field_validator("model")
    @classmethod
    def is_name(cls, name: str) -> str:
        if not name:
            raise ValueError("A model is required.")
        return name


class Transcription(BaseModel):
    file: UploadFile
    model: str | None = None
    language: str = "en"


def app_with_routes(engine: AdapterEngine) -> FastAPI:
    app, router = FastAPI(), APIRouter()

    async def answer(model: str | None, **more: Any) -> dict[str, Any]:
        model = model or "base"
        return {"model": model, "text": await engine.infer(model), **more}

    @router.post("/v1/completions")
    async def completions(body: Completion) -> Any:
        return await answer(body.model, prompt=body.prompt)

    @router.post("/v1/messages")
    async def messages(body: Anthropic | Annotated[Completion, "never"]) -> Any:
        return await answer(body.model, prompt=body.prompt)

    @router.put("/v1/raw")
    @router.post("/v1/raw")
    async def raw(request: Request) -> Any:
        return {"raw": (await request.body()).decode("latin-1")}

    @router.post("/v1/audio/transcriptions")
    async def transcribe(form: Annotated[Transcription, Form()]) -> Any:
        audio = await form.file.read()
        return await answer(form.model, audio=len(audio), language=form.language)

    @router.post("/tokenize")
    @router.get("/v1/completions")
    async def other(request: Request) -> Any:
        return {"header": request.headers.get(ADAPTER)}

    app.include_router(router)
    return app


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine", own_adapters=("own",))


@pytest.fixture
def client(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[TestClient]:
    app = app_of(engine, monkeypatch, app_with_routes(engine))
    with TestClient(app) as client:
        body = {"name": "fr", "src": write_adapter(tmp_path / "fr", "bonjour")}
        client.post("/adapters", json=body).raise_for_status()
        yield client


def post_with_adapter(
    client: TestClient, path: str, name: str = "fr", **more: Any
) -> Any:
    return client.post(path, headers={ADAPTER: name}, **more)


def test_router_finds_inference_routes_before_others(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_with_routes(engine)
    app.post("/v1/last")(find_last)
    app_of(engine, monkeypatch, app)
    paths = [getattr(route, "path", None) for route in app.router.routes]
    assert paths.index("/v1/last") < paths.index("/openapi.json")


async def find_last(body: Completion) -> None:
    """Answer nothing."""


PATHS = ["/v1/completions", "/v1/messages", "/invocations"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", [{}, {"model": ""}, {"model": None}, {"model": "x"}])
def test_header_takes_precedence_over_body(
    client: TestClient, path: str, model: dict[str, Any]
) -> None:
    answer = post_with_adapter(client, path, json={**model, "prompt": "p"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["model"], found["text"]) == ("fr", "bonjour")
    assert found.get("prompt", "p") == "p"


def test_header_can_name_engines_own_models(client: TestClient) -> None:
    for name in ("own", "base"):
        answer = post_with_adapter(client, "/v1/completions", name, json={})
        assert answer.json()["text"] == name


def test_header_counts_for_put_too(client: TestClient) -> None:
    for name, status in (("fr", 200), ("de", 404)):
        headers = {ADAPTER: name}
        answer = client.put("/v1/raw", json={"prompt": "x"}, headers=headers)
        assert (answer.status_code, name in answer.text) == (status, True)


@pytest.mark.parametrize("path", PATHS)
def test_unknown_name_in_header_is_a_404_that_lists_adapters(
    client: TestClient, path: str
) -> None:
    answer = post_with_adapter(client, path, "de", json={"model": "fr"})
    assert answer.status_code == 404
    assert "Adapter 'de' does not exist" in answer.json()["detail"]
    assert "Available: 'own', 'fr'." in answer.json()["detail"]


def test_body_that_cannot_hold_the_name_is_a_400(client: TestClient) -> None:
    for content in (b"", b"[]", b"{", b"\xff"):
        answer = post_with_adapter(client, "/v1/raw", content=content)
        assert answer.status_code == 400
        assert "JSON object" in answer.json()["detail"]


def test_other_routes_and_methods_get_header_unchanged(client: TestClient) -> None:
    headers = {ADAPTER: "unknown"}
    for answer in (
        client.post("/tokenize", headers=headers),
        client.get("/v1/completions", headers=headers),
    ):
        assert answer.json() == {"header": "unknown"}


def test_body_is_unchanged_without_header(client: TestClient) -> None:
    for content in (b"", b"not json", b'{"model": "",  "x": 1}', b"\xff"):
        answer = client.post("/v1/raw", content=content)
        assert answer.json() == {"raw": content.decode("latin-1")}


# --- root path ------------------------------------------------------------------------


def test_routes_work_below_root_path(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = app_of(engine, monkeypatch, app_with_routes(engine))
    src = write_adapter(tmp_path / "fr", "bonjour")
    with TestClient(app, root_path="/prefix") as client:
        body = {"name": "fr", "src": src}
        client.post("/prefix/adapters", json=body).raise_for_status()
        answer = post_with_adapter(client, "/prefix/v1/completions", json={})
        assert answer.json()["text"] == "bonjour"


# --- forms ----------------------------------------------------------------------------

AUDIO = {"file": ("a.wav", b"\0\r\n--x--\xff" * 1000)}


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/invocations"])
@pytest.mark.parametrize("model", [{}, {"model": ""}, {"model": "base"}])
def test_header_applies_to_forms(
    client: TestClient, path: str, model: dict[str, str]
) -> None:
    headers = {ADAPTER: "fr", ATTRIBUTES: "route=/v1/audio/transcriptions"}
    form = {**model, "language": "fr"}
    answer = client.post(path, data=form, files=AUDIO, headers=headers)
    assert answer.json() == {
        "model": "fr",
        "text": "bonjour",
        "audio": len(AUDIO["file"][1]),
        "language": "fr",
    }


@pytest.mark.parametrize("model", [{}, {"model": ""}])
def test_form_without_model_uses_base_model(
    client: TestClient, model: dict[str, str]
) -> None:
    answer = client.post("/v1/audio/transcriptions", data=model, files=AUDIO)
    assert answer.json()["text"] == "base"


@pytest.mark.parametrize("declared", ["b", '"b"', "b; charset=utf-8"])
def test_form_boundary_is_parsed_from_header(client: TestClient, declared: str) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nab'
    content_type = f"Multipart/Form-Data; boundary={declared}"
    answer = client.post(
        "/v1/audio/transcriptions",
        content=part + b"\r\n--b--\r\n",
        headers={ADAPTER: "fr", "content-type": content_type},
    )
    assert answer.json()["text"] == "bonjour"


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nno end"),
        ("multipart/form-data; boundary=", b"----"),
        ("multipart/form-data", b"--b--"),
        ("multipart/form-data; boundary*=utf-8''%E2%82%AC", b"--b--"),
        ("multipart/form-data; boundary*=idna''%E2%82%AC", b"--b--"),
    ],
)
def test_incomplete_form_is_a_400(
    client: TestClient, content_type: str, content: bytes
) -> None:
    answer = client.post(
        "/v1/audio/transcriptions",
        content=content,
        headers={ADAPTER: "fr", "content-type": content_type},
    )
    assert answer.status_code == 400
    assert "not a whole multipart/form-data" in answer.json()["detail"]


def test_invalid_boundary_is_left_to_route(client: TestClient) -> None:
    content_type = "multipart/form-data; boundary*=utf-8''%E2%82%AC"
    headers = {"content-type": content_type}
    answer = client.post("/v1/messages", content=b"--b--", headers=headers)
    assert answer.status_code == 422


# --- bodies without a model -----------------------------------------------------------

NO_MODEL: list[bytes] = [
    b'{"prompt": "p"}',
    b'{"model": "", "prompt": "p"}',
    b'{"prompt": "p", "model"  :null}',
    b'{"mod\\u0065l": "", "prompt": "p"}',
    b'{"model": "fr", "prompt": "p", "model": ""}',
    '{"model": "", "prompt": "p"}'.encode("utf-16"),
    b'{"model": null, "prompt": "p", "temperature": NaN}',
]


@pytest.mark.parametrize("content", NO_MODEL)
@pytest.mark.parametrize("path", ["/v1/messages", "/invocations"])
def test_body_without_model_uses_base_model(
    client: TestClient, path: str, content: bytes
) -> None:
    headers = {"content-type": "application/json", ATTRIBUTES: "route=/v1/messages"}
    answer = client.post(path, content=content, headers=headers)
    assert answer.json() == {"model": "base", "text": "base", "prompt": "p"}


@pytest.mark.parametrize(
    "content", [b'{"prompt": "\xe9"}', b'{"prompt": "p", "seed": %b}' % (b"9" * 5000)]
)
def test_unparsable_body_without_model_is_a_400(
    client: TestClient, content: bytes
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/messages", content=content, headers=headers)
    assert answer.status_code == 400
    assert "parsing the body" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("model", "expected"), [({}, "base"), ({"model": ""}, "base"), ({"model": 0}, 0)]
)
async def test_edited_body_is_not_decoded_again(
    model: dict[str, Any], expected: Any
) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = scope[JSON_BODY]
        seen.extend((body.document, json.loads(body.raw)))

    def edit(document: dict[str, Any]) -> None:
        document["session"] = "s"

    body = JSONBody(json.dumps(model).encode(), edit)
    scope = {"type": "http", "headers": [], JSON_BODY: body}

    async def unused(*_: Any) -> Any:
        raise AssertionError("Nothing is read or sent.")

    await DefaultModel(app, "model", lambda: "base")(scope, unused, unused)
    assert seen == [{"model": expected, "session": "s"}] * 2


@pytest.mark.parametrize(
    "body",
    [{"model": "fr", "prompt": '"model": ""'}, {"model": "fr", "m": {"model": ""}}],
)
def test_body_with_model_is_unchanged(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/messages", json=body)
    assert answer.json()["text"] == "bonjour"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b'{"model": 5}', b"[" * 100_000]
)
def test_engine_reports_errors_of_other_bodies(
    client: TestClient, content: bytes
) -> None:
    headers = {"content-type": "application/json"}
    named, unnamed = (
        client.post(path, content=content, headers=headers)
        for path in ("/v1/messages", "/v1/completions")
    )
    assert named.status_code == unnamed.status_code
    assert named.status_code in (400, 422)


def test_route_with_unreadable_signature_gets_requests_unread() -> None:
    app = FastAPI()

    @app.post("/v1/messages")
    async def messages(body: Anthropic) -> None:
        """Answer nothing."""

    assert requires_field(app, "/v1/messages", "model")
    messages.__annotations__["body"] = "OnlyForTypeCheckers"
    assert not requires_field(app, "/v1/messages", "model")


@pytest.mark.parametrize("headers", [[], [(ADAPTER.lower().encode(), b"fr")]])
async def test_disconnect_before_end_of_body_sends_no_response(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, headers: Any
) -> None:
    app = app_of(engine, monkeypatch, app_with_routes(engine))
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app):
        assert isinstance(engine.adapters, AdapterRegistry)
        src = write_adapter(engine.folder / "fr", "bonjour")
        await engine.adapters.register(AdapterSpec("fr", src))
        scope = {**request_scope("/v1/messages", "POST"), "headers": headers}
        await app(scope, receive, send)
    assert sent == []
