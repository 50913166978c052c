"""Checks of /invocations."""

from __future__ import annotations

import gzip
from functools import partial
from typing import Final

from ..check import Need, check
from ..container import Container
from ..discovery import find_invocation, known_body
from ..exchange import cut
from ..expect import expect, expect_no_failure, expect_status
from ..verdict import FailedError, NotOfferedError

_ROUTES: Final = "reference/http.md#routes"
_RESPONSE: Final = "reference/http.md#response-headers"
_REQUESTS: Final = 10
_TOGETHER: Final = 8


@check("invocations-answers", "POST /invocations is a 200 within 60 seconds", _ROUTES)
def answers(container: Container) -> str:
    found = container.once(find_invocation)
    exchange = found.exchange
    container.client.show(exchange)
    if found.body is None:
        hint = {401: ": give --api-key", 403: ": give --api-key"}
        advice = hint.get(exchange.status or 0, "")
        raise FailedError(f"no body was answered: {exchange.outcome}{advice}")
    kind = found.body.kind or "the body of --body"
    return f"{kind}: 200 in {exchange.seconds * 1000:.0f} ms"


@check("invocations-times", "10 requests in a row are all a 200", _ROUTES)
def times(container: Container) -> str:
    body = known_body(container)
    series = container.latencies.setdefault("POST /invocations", [])
    for _ in range(_REQUESTS):
        series.append(expect_status(container.invoke(body), 200).seconds)
    return f"the slowest of {_REQUESTS} took {max(series) * 1000:.0f} ms"


@check("invocations-concurrent", "8 requests at once are all a 200", _ROUTES)
def concurrent(container: Container) -> str:
    body = known_body(container)
    calls = [partial(container.invoke, body) for _ in range(_TOGETHER)]
    exchanges = [expect_status(found, 200) for found in container.together([*calls])]
    slowest = max(exchange.seconds for exchange in exchanges) * 1000
    return f"the slowest of {_TOGETHER} took {slowest:.0f} ms"


@check(
    "invocations-length",
    "An answer that is not a stream has a Content-Length, as asynchronous inference "
    "needs it",
    _RESPONSE,
)
def length(container: Container) -> str:
    exchange = expect_status(container.invoke(known_body(container)), 200)
    found = exchange.header("content-length")
    expect(found is not None, "the answer has no Content-Length")
    return f"Content-Length: {found}"


@check("invocations-type", "An answer is of the type that it says", _RESPONSE)
def content_type(container: Container) -> str:
    exchange = expect_status(container.invoke(known_body(container)), 200)
    expect(bool(exchange.content_type), "the answer has no Content-Type")
    if exchange.content_type == "application/json":
        text = cut(exchange.text, 80)
        expect(exchange.document() is not None, f"the answer is not JSON: {text!r}")
    return f"Content-Type: {exchange.content_type}"


@check(
    "invocations-handler",
    "Your own handler answers",
    "how-to/handlers.md#which-handler-answers",
    Need.EXPECTED,
)
def handler(container: Container) -> str:
    expected = container.options.expected or ""
    exchange = expect_status(container.invoke(known_body(container)), 200)
    text = cut(exchange.text, 80)
    expect(expected in exchange.text, f"{expected!r} is not in the answer {text!r}")
    return f"the answer has {expected!r}"


@check(
    "invocations-gzip",
    "A gzip body is unpacked",
    "reference/http.md#compressed-bodies",
)
def compressed(container: Container) -> str:
    body = known_body(container)
    packed = gzip.compress(body.content)
    headers = {"Content-Type": body.content_type, "Content-Encoding": "gzip"}
    exchange = container.client.request("POST", "/invocations", packed, headers)
    if expect_no_failure(exchange).status != 200:
        raise NotOfferedError(f"a gzip body: {exchange.outcome}")
    return "200"
