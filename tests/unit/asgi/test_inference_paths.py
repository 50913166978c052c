"""Inference routes of an engine are found by their parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, Union

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Form, Request
from pydantic import BaseModel

from fixtures import Includer
from model_hosting_container_standards.asgi.inference_paths import find_inference_paths


class Completion(BaseModel):
    model: str | None = None
    prompt: str = ""


class Chat(BaseModel):
    model: str
    messages: list[Any]


class Batch(Chat):
    """A subclass, which inherits the model field."""


class Pause(BaseModel):
    mode: str = "abort"


def decorated(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(endpoint)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await endpoint(*args, **kwargs)

    return wrapper


# --- endpoints that run a model ----------------------------------------------------


async def plain(request: Completion) -> None: ...
async def with_raw_request(raw_request: Request, request: Chat) -> None: ...
async def of_a_subclass(request: Batch) -> None: ...
async def union(request: Completion | Chat) -> None: ...
async def old_union(request: Union[Chat, Completion]) -> None: ...  # noqa: UP007
async def annotated(request: Annotated[Completion | Chat, Body()]) -> None: ...
async def form(request: Annotated[Completion, Form()]) -> None: ...


@decorated
@decorated
async def wrapped(request: Completion, raw_request: Request) -> None: ...


class Server:
    async def method(self, request: Chat, raw_request: Request) -> None: ...


# --- endpoints that do not run a model ---------------------------------------------


async def nothing() -> None: ...
async def raw(raw_request: Request) -> None: ...
async def managing(request: Pause) -> None: ...
async def managing_optional(request: Pause | None = None) -> None: ...
async def by_query(model: str) -> None: ...
async def by_body(model: Annotated[str, Body(embed=True)]) -> None: ...
async def document(request: dict[str, Any]) -> None: ...
async def either(request: Completion | Pause) -> None: ...
async def listing(request: list[Completion]) -> None: ...
async def depending(request: Annotated[None, Depends(nothing)]) -> None: ...
async def unreadable(request: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821


INFERENCE_ENDPOINTS = [
    *(plain, with_raw_request, of_a_subclass, union, old_union, annotated, wrapped),
    Server().method,
]
OTHER_ENDPOINTS = [
    *(nothing, raw, managing, managing_optional, by_query, by_body, document, either),
    *(listing, depending),
]


def found(app: FastAPI, module: str = __name__) -> frozenset[str]:
    return find_inference_paths(app, lambda name: name == module)


@pytest.mark.parametrize("endpoint", INFERENCE_ENDPOINTS)
def test_route_whose_request_has_a_model_is_found(
    includer: Includer, endpoint: Callable[..., Any]
) -> None:
    app, router = FastAPI(), APIRouter()
    router.post("/score")(endpoint)
    includer(app, router)
    assert found(app) == {"/score"}


@pytest.mark.parametrize("endpoint", OTHER_ENDPOINTS)
def test_routes_with_other_parameters_are_not_found(
    includer: Includer, endpoint: Callable[..., Any]
) -> None:
    app, router = FastAPI(), APIRouter()
    router.post("/v1/score")(endpoint)
    router.post("/v1/completions")(plain)
    includer(app, router)
    assert found(app) == {"/v1/completions"}


def test_route_whose_form_has_a_model_is_found() -> None:
    pytest.importorskip("python_multipart")
    app = FastAPI()
    app.post("/v1/audio/transcriptions")(form)
    assert found(app) == {"/v1/audio/transcriptions"}


def test_unreadable_signature_is_not_an_inference_route() -> None:
    app = FastAPI()
    app.post("/v1/completions")(plain)
    route: Any = app.router.routes[-1]
    route.endpoint = unreadable
    assert found(app) == frozenset()


@pytest.mark.parametrize(
    "path",
    [
        *("/ping", "/invocations", "/adapters", "/adapters/load"),
        *("/v1/responses/{response_id}/cancel", "/{anything:path}", "/v1/x{a}y"),
        *("/_internal/tokenize", "/v1/_debug"),
    ],
)
def test_contract_and_internal_paths_are_not_found(path: str) -> None:
    app = FastAPI()
    # Path parameters are not fields of the request.
    app.post(path)(plain)
    assert found(app) == frozenset()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_routes_are_found(method: str) -> None:
    app = FastAPI()
    app.add_api_route("/v1/completions", plain, methods=[method])
    assert found(app) == frozenset()


def test_foreign_routes_are_not_found() -> None:
    app = FastAPI()
    app.post("/v1/completions")(plain)
    app.mount("/v1/mounted", FastAPI())
    assert found(app, "vllm.entrypoints") == frozenset()
