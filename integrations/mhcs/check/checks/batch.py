"""Checks of batch transform."""

from __future__ import annotations

from typing import Any, Final

from ..body import json_body
from ..check import check
from ..container import Container
from ..discovery import known_document
from ..exchange import Exchange
from ..expect import documents, expect, expect_object, expect_status, require_route
from ..verdict import NotOfferedError

_PARAMETERS: Final = "how-to/batch.md#execution-parameters"
_LINES: Final = "how-to/batch.md#lines"
_JSON_LINES: Final = {"Content-Type": "application/jsonlines"}
_STRATEGIES: Final = ("MULTI_RECORD", "SINGLE_RECORD")


@check("batch-parameters", "GET /execution-parameters advises a job", _PARAMETERS)
def parameters(container: Container) -> str:
    exchange = require_route(container.get("/execution-parameters"))
    found = expect_object(expect_status(exchange, 200))
    # A payload of 0 is one without a limit.
    for name, least in (("MaxConcurrentTransforms", 1), ("MaxPayloadInMB", 0)):
        value = found.get(name)
        expect(isinstance(value, int) and value >= least, f"{name} is {value!r}")
    strategy = found.get("BatchStrategy")
    expect(strategy in _STRATEGIES, f"BatchStrategy is {strategy!r}")
    return ", ".join(f"{name} {value}" for name, value in found.items())


def _three_lines(container: Container) -> Exchange:
    return _ask(container, [_line(container)] * 3)


def _line(container: Container) -> bytes:
    """Return the body that is answered, on one line: the user's own may have more."""
    return json_body(known_document(container).document or {}).content


def _require_lines(container: Container) -> Exchange:
    """Return the answer to three lines.

    Raises:
        NotOfferedError: it is not that of a server that knows JSON Lines.
    """
    exchange = container.once(_three_lines)
    container.client.show(exchange)
    if exchange.is_whole and exchange.status != 200:
        raise NotOfferedError(f"application/jsonlines: {exchange.outcome}")
    return exchange


@check("batch-lines", "Each line of application/jsonlines is a request", _LINES)
def lines(container: Container) -> str:
    found = _documents(_require_lines(container))
    expect(len(found) == 3, f"3 lines were answered by {len(found)}")
    expect(not any(map(_is_error, found)), f"a line is an error: {found}")
    return "3 lines for 3"


@check("batch-errors", "A line that fails is an error of its own, in its place", _LINES)
def errors(container: Container) -> str:
    _require_lines(container)
    content = _line(container)
    found = _documents(_ask(container, [content, b'{"broken', content]))
    kinds = [_is_error(document) for document in found]
    expect(kinds == [False, True, False], f"errors in lines: {kinds}")
    return "the second of 3 lines is an error"


def _ask(container: Container, requests: list[bytes]) -> Exchange:
    content = b"\n".join(requests)
    return container.client.request("POST", "/invocations", content, _JSON_LINES)


def _documents(exchange: Exchange) -> list[Any]:
    expect_status(exchange, 200)
    return documents(exchange.lines)


def _is_error(document: Any) -> bool:
    return isinstance(document, dict) and "error" in document
