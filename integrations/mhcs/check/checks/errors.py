"""Checks of what wrong requests are answered."""

from __future__ import annotations

import re
from typing import Final

from ..body import JSON, Body
from ..check import check
from ..container import Container
from ..discovery import known_document
from ..exchange import Exchange, cut
from ..expect import expect_no_failure, expect_refusal, expect_status
from ..verdict import FailedError

_STATUSES: Final = "reference/http.md#statuses"
_DEPTH: Final = 50_000
_LARGE: Final = 1_000_000
_LEAK: Final = re.compile(r"Traceback \(most recent call last\)|File \"/[^\"]+\", line")


def _ask(container: Container, content: bytes, content_type: str = JSON) -> Exchange:
    """Send a wrong body; the server must still be there afterwards."""
    known_document(container)
    exchange = container.invoke(Body(content, content_type, None))
    expect_status(container.ping(), 200)
    return exchange


@check("errors-json", "A body that is not JSON is the client's error", _STATUSES)
def broken_json(container: Container) -> str:
    return expect_refusal(_ask(container, b'{"prompt": "hel')).outcome


@check("errors-encoding", "A body that is not UTF-8 is the client's error", _STATUSES)
def wrong_encoding(container: Container) -> str:
    return expect_refusal(_ask(container, b'{"prompt": "\xff\xfe"}')).outcome


@check("errors-empty", "An empty body is the client's error", _STATUSES)
def empty(container: Container) -> str:
    return expect_refusal(_ask(container, b"")).outcome


@check("errors-nested", "A body nested too deeply is the client's error", _STATUSES)
def nested(container: Container) -> str:
    return expect_refusal(_ask(container, b"[" * _DEPTH)).outcome


@check("errors-object", "A body that is not an object does no harm", _STATUSES)
def not_an_object(container: Container) -> str:
    outcomes = {
        expect_no_failure(_ask(container, b)).outcome for b in (b"[1]", b"null")
    }
    return ", ".join(sorted(outcomes))


@check("errors-type", "An unknown content type does no harm", _STATUSES)
def unknown_type(container: Container) -> str:
    exchange = _ask(container, b"a,b\n1,2\n", "text/x-mhcs-check")
    return expect_no_failure(exchange).outcome


@check("errors-large", "A prompt of a megabyte is answered or refused", _STATUSES)
def large(container: Container) -> str:
    body = known_document(container).with_prompt("a " * (_LARGE // 2))
    exchange = container.invoke(body)
    expect_status(container.ping(), 200)
    return expect_no_failure(exchange).outcome


@check("errors-leak", "Errors show neither tracebacks nor lines of code", _STATUSES)
def leak(container: Container) -> str:
    body = known_document(container)
    wrong = [body.with_tokens("many"), body.with_fields(model=["mhcs"])]
    exchanges = [container.invoke(found) for found in wrong]
    exchanges.append(_ask(container, b"{"))
    for exchange in exchanges:
        if found := _LEAK.search(exchange.text):
            text = cut(exchange.text[found.start() :], 120)
            finding = f"{exchange.request_line}: {exchange.outcome}: {text!r}"
            raise FailedError(finding, exchange)
    return f"in {len(exchanges)} answers"
