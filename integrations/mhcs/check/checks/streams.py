"""Checks of streamed answers."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ..body import Body
from ..check import check
from ..container import Container
from ..discovery import known_document
from ..exchange import Exchange
from ..expect import (
    documents,
    events,
    expect,
    expect_no_failure,
    expect_refusal,
    expect_status,
)
from ..verdict import FailedError, NotOfferedError

_RESPONSE: Final = "reference/http.md#response-headers"
_STATUSES: Final = "reference/http.md#statuses"
_DIALECTS: Final = "how-to/dialects.md#answers"
_TYPES: Final = frozenset(
    {"text/event-stream", "application/jsonlines", "application/x-ndjson"}
)
_TOKENS: Final = 32
_TOGETHER: Final = 4
_ATTEMPTS: Final = 3
_MANY: Final = 3


def stream_body(container: Container, tokens: int = _TOKENS) -> Body:
    """Return a body that is answered by a stream.

    Raises:
        NotOfferedError: none is.
    """
    exchange = expect_no_failure(container.once(_first_stream))
    if not is_stream(exchange):
        text = f"stream: true: {exchange.outcome}, {exchange.content_type or 'no type'}"
        raise NotOfferedError(text)
    return known_document(container).with_tokens(tokens).with_fields(stream=True)


def _first_stream(container: Container) -> Exchange:
    body = known_document(container).with_tokens(_TOKENS).with_fields(stream=True)
    return container.invoke(body)


def is_stream(exchange: Exchange) -> bool:
    return exchange.status == 200 and exchange.content_type in _TYPES


def is_error(document: Any) -> bool:
    """Return whether an event tells the client of an error."""
    return isinstance(document, dict) and bool(
        document.get("error") or document.get("object") == "error"
    )


def check_stream(exchange: Exchange) -> list[Any]:
    """Return the documents of a stream that has to be whole.

    Raises:
        FailedError: it is cut, or has an error or no proper end.
    """
    expect_status(exchange, 200)
    expect(is_stream(exchange), f"not a stream, but {exchange.content_type!r}")
    data = events(exchange)
    found = documents(data)
    expect(bool(found), "the stream has no events")
    errors = [document for document in found if is_error(document)]
    expect(not errors, f"the stream has an error: {errors[:1]}")
    if any(isinstance(document, dict) and "choices" in document for document in found):
        expect(data[-1] == "[DONE]", "the stream does not end with [DONE]")
    return found


@check("streams-events", "A stream is whole, and ends as its clients expect", _DIALECTS)
def well_formed(container: Container) -> str:
    exchange = container.invoke(stream_body(container))
    return f"{len(check_stream(exchange))} events of {exchange.content_type}"


@check("streams-length", "A stream has no Content-Length", _RESPONSE)
def length(container: Container) -> str:
    exchange = container.invoke(stream_body(container))
    found = exchange.header("content-length")
    expect(found is None, f"the stream has Content-Length: {found}")
    return "it has none"


@check(
    "streams-parts", "Events arrive when they are made, not all at the end", _DIALECTS
)
def parts(container: Container) -> str:
    body = stream_body(container)
    for _ in range(_ATTEMPTS):
        exchange = container.invoke(body)
        count = len(check_stream(exchange))
        if len(exchange.arrivals) > 1 or count < _MANY:
            break
    else:
        raise FailedError(f"all {count} events arrived at once")
    first, last = exchange.arrivals[0][0], exchange.arrivals[-1][0]
    return f"{count} events, from {first * 1000:.0f} to {last * 1000:.0f} ms"


@check("streams-times", "10 streams in a row are whole", _DIALECTS)
def times(container: Container) -> str:
    body = stream_body(container)
    series = container.latencies.setdefault("First event of a stream", [])
    for _ in range(10):
        exchange = container.invoke(body)
        check_stream(exchange)
        series.append(exchange.arrivals[0][0])
    return f"the slowest first event took {max(series) * 1000:.0f} ms"


@check("streams-concurrent", "4 streams at once are all whole", _DIALECTS)
def concurrent(container: Container) -> str:
    body = stream_body(container)
    calls = [partial(container.invoke, body) for _ in range(_TOGETHER)]
    counts = [len(check_stream(found)) for found in container.together([*calls])]
    return f"{sum(counts)} events"


@check(
    "streams-disconnect",
    "A client that hangs up in the middle of a stream does no harm",
    _STATUSES,
)
def disconnect(container: Container) -> str:
    body = stream_body(container, tokens=_TOKENS * 4)
    for _ in range(_TOGETHER):
        exchange = container.invoke(body, on_part=lambda _: False)
        expect(exchange.is_hung_up, f"{exchange.request_line}: {exchange.outcome}")
    expect_status(container.ping(), 200)
    expect_status(container.invoke(known_document(container)), 200)
    return f"after {_TOGETHER} of them, /ping and /invocations answer"


@check(
    "streams-errors",
    "A wrong request for a stream is refused by its status, not in the stream",
    _STATUSES,
)
def errors(container: Container) -> str:
    exchange = container.invoke(stream_body(container).with_tokens("many"))
    if is_stream(exchange) and not any(map(is_error, documents(events(exchange)))):
        raise NotOfferedError("a number of tokens that is not a number is ignored")
    return expect_refusal(exchange).outcome
