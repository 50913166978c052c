"""What checks demand of an exchange."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from .exchange import Exchange, cut
from .verdict import FailedError, NotOfferedError

#: Statuses that say that there is no such route.
ABSENT: Final = (404, 405, 501)


def expect(condition: bool, finding: str) -> None:
    """Fail with the finding unless the condition holds."""
    if not condition:
        raise FailedError(finding)


def expect_status(exchange: Exchange, *statuses: int) -> Exchange:
    """Return a whole answer that has one of the statuses."""
    wanted = " or ".join(map(str, statuses))
    if not exchange.is_whole or exchange.status not in statuses:
        raise FailedError(
            f"{exchange.request_line}: {exchange.outcome}, not {wanted}", exchange
        )
    return exchange


def expect_refusal(exchange: Exchange) -> Exchange:
    """Return a whole answer with a status of the client's errors."""
    status = exchange.status or 0
    if not exchange.is_whole or not 400 <= status < 500:
        text = f"{exchange.request_line}: {exchange.outcome}, not a 4xx"
        raise FailedError(text, exchange)
    return exchange


def expect_no_failure(exchange: Exchange) -> Exchange:
    """Return a whole answer with a status below 500."""
    if not exchange.is_whole or (exchange.status or 0) >= 500:
        raise FailedError(f"{exchange.request_line}: {exchange.outcome}", exchange)
    return exchange


def expect_object(exchange: Exchange) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    document = exchange.document()
    if not isinstance(document, dict):
        text = cut(exchange.text, 80)
        raise FailedError(
            f"{exchange.request_line}: not a JSON object: {text!r}", exchange
        )
    return document


def require_route(exchange: Exchange) -> Exchange:
    """Return an exchange unless its status says that there is no such route."""
    if exchange.status in ABSENT:
        raise NotOfferedError(f"{exchange.request_line}: {exchange.outcome}", exchange)
    return exchange


def events(exchange: Exchange) -> list[str]:
    """Return the data of a stream's events, or its JSON Lines."""
    lines = exchange.lines
    if exchange.content_type == "text/event-stream":
        return [line[5:].strip() for line in lines if line.startswith("data:")]
    return lines


def documents(data: Iterable[str]) -> list[Any]:
    """Return the JSON of events, without ``[DONE]``.

    Raises:
        FailedError: one of them is not JSON.
    """
    found = []
    for text in data:
        if text == "[DONE]":
            continue
        try:
            found.append(json.loads(text))
        except (ValueError, RecursionError):
            raise FailedError(f"an event is not JSON: {cut(text, 80)!r}") from None
    return found
