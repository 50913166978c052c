"""Checks of the headers that the platform sends."""

from __future__ import annotations

from typing import Final

from ..body import CANDIDATES, json_body
from ..check import check
from ..container import ATTRIBUTES_HEADER, Container
from ..discovery import known_body, model_names
from ..expect import expect, expect_status
from ..verdict import NotOfferedError

_REQUEST: Final = "reference/http.md#request-headers"
_PREFIX: Final = "X-Amzn-SageMaker-"
#: At their greatest length where the platform limits it.
_PLATFORM: Final = {
    "Accept": "application/json",
    ATTRIBUTES_HEADER: "trace=" + "a" * 1018,
    f"{_PREFIX}Inference-Id": "i" * 64,
    f"{_PREFIX}Inference-Component": "component",
    f"{_PREFIX}Target-Model": "model.tar.gz",
    f"{_PREFIX}Target-Variant": "AllTraffic",
}
_ID: Final = "mhcs-check-id"


@check("headers-platform", "All headers of the platform are accepted", _REQUEST)
def platform(container: Container) -> str:
    expect_status(container.invoke(known_body(container), _PLATFORM), 200)
    return f"200 with {len(_PLATFORM)} of them"


@check("headers-id", "The inference id comes back as X-Request-Id", _REQUEST)
def request_id(container: Container) -> str:
    headers = {f"{_PREFIX}Inference-Id": _ID}
    exchange = expect_status(container.invoke(known_body(container), headers), 200)
    found = exchange.header("x-request-id")
    if found is None:
        raise NotOfferedError("the answer has no X-Request-Id")
    expect(found == _ID, f"{_ID} was sent, and {found} came back")
    return found


@check(
    "headers-route",
    "route= in the custom attributes chooses a route of the engine",
    "reference/http.md#choosing-a-route-of-the-engine",
)
def route(container: Container) -> str:
    body = known_body(container)
    exchange = container.invoke(body, {ATTRIBUTES_HEADER: "route=/no/such/route"})
    if exchange.status == 200:
        raise NotOfferedError("an unknown route= is ignored")
    expect_status(exchange, 400)
    model = next(iter(model_names(container)), "")
    completion = json_body({**CANDIDATES["prompt"], "model": model})
    headers = {ATTRIBUTES_HEADER: "route=/v1/completions"}
    chosen = container.invoke(completion, headers)
    if chosen.status == 400 and "/v1/completions" not in exchange.text:
        raise NotOfferedError(f"the engine has no such route: {chosen.outcome}")
    return expect_status(chosen, 200).outcome
