"""Checks of the names of models."""

from __future__ import annotations

from typing import Final

from ..body import CANDIDATES, json_body
from ..check import check
from ..container import Container
from ..discovery import known_document, list_models, model_names, model_of
from ..expect import expect, expect_object, expect_status, require_route
from ..verdict import FailedError, NotOfferedError

_MODELS: Final = "reference/http.md#models-and-adapters-in-a-request"
#: A name that no container serves.
UNKNOWN: Final = "mhcs-check-no-such-model"
_ROUTES: Final = {"prompt": "/v1/completions", "messages": "/v1/chat/completions"}


@check("models-list", "GET /v1/models lists what there is", _MODELS)
def listed(container: Container) -> str:
    exchange = container.once(list_models)
    container.client.show(exchange)
    require_route(exchange)
    expect_object(expect_status(exchange, 200))
    names = model_names(container)
    expect(bool(names), "/v1/models lists no model")
    return ", ".join(names)


@check("models-missing", "A body without a model is answered", _MODELS)
def missing(container: Container) -> str:
    body = known_document(container).without("model")
    return _answered(expect_status(container.invoke(body), 200).document())


@check("models-empty", 'model: "" and model: null are the base model', _MODELS)
def empty(container: Container) -> str:
    body = known_document(container)
    for model in ("", None):
        exchange = container.invoke(body.with_fields(model=model))
        expect_status(exchange, 200)
    return _answered(exchange.document())


@check(
    "models-unknown", "An unknown model is a 404, not another model's answer", _MODELS
)
def unknown(container: Container) -> str:
    body = known_document(container).with_fields(model=UNKNOWN)
    if not model_names(container):
        raise NotOfferedError("/v1/models lists no model")
    exchange = container.invoke(body)
    if exchange.status == 200:
        model = model_of(exchange.document()) or "a model"
        raise FailedError(f"{UNKNOWN!r} was answered by {model!r}", exchange)
    return expect_status(exchange, 404).outcome


@check(
    "models-openai",
    'The routes of OpenAI take model: "", as SageMaker sends it there',
    _MODELS,
)
def openai(container: Container) -> str:
    offered = []
    for kind, route in _ROUTES.items():
        body = json_body({**CANDIDATES[kind], "model": ""})
        exchange = container.invoke(body, path=route)
        if exchange.status in (404, 405) and not _knows_models(exchange.text):
            continue
        expect_status(exchange, 200)
        offered.append(route)
    if not offered:
        raise NotOfferedError(f"{exchange.request_line}: {exchange.outcome}")
    return " and ".join(offered)


def _knows_models(text: str) -> bool:
    """Return whether a 404 is about the model, not about the route."""
    return "model" in text.lower()


def _answered(document: object) -> str:
    return f"200 by {model_of(document) or 'the base model'}"
