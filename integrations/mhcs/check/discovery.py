"""Find out how the container wants to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .body import Body, candidates
from .container import Container
from .exchange import Exchange
from .verdict import SkippedError


@dataclass(frozen=True, slots=True)
class Invocation:
    """The body that /invocations answers, and the exchange that showed it.

    ``body`` is None if there is none; the exchange then is the most telling one.
    """

    body: Body | None
    exchange: Exchange


def first_ping(container: Container) -> Exchange:
    return container.ping()


def list_models(container: Container) -> Exchange:
    return container.get("/v1/models")


def model_names(container: Container) -> list[str]:
    """Return the names that /v1/models lists; those of base models come first."""
    document = container.once(list_models).document()
    listed = document.get("data") if isinstance(document, dict) else None
    found = listed if isinstance(listed, list) else []
    entries = [entry for entry in found if isinstance(entry, dict)]
    entries.sort(key=lambda entry: bool(entry.get("parent")))
    return [name for entry in entries if isinstance(name := entry.get("id"), str)]


def find_invocation(container: Container) -> Invocation:
    """Ask /invocations until a body is answered by a 200.

    A server that does not answer in time is not asked again, as it may hang.
    """
    tried = []
    for body in _bodies(container):
        exchange = container.invoke(body)
        if exchange.is_whole and exchange.status == 200:
            return Invocation(body, exchange)
        tried.append(exchange)
        if exchange.status is None or exchange.timed_out:
            return Invocation(None, exchange)
    return Invocation(None, min(tried, key=_is_off_topic))


def _bodies(container: Container) -> list[Body]:
    options = container.options
    if options.body is not None:
        return [options.body]
    model = options.model or next(iter(model_names(container)), None)
    return list(candidates(model))


def _is_off_topic(exchange: Exchange) -> int:
    """Rank failures: those of the server, of its key, of a missing route, others."""
    status = exchange.status or 0
    if status >= 500:
        return 0
    return {401: 1, 403: 1, 404: 2}.get(status, 3)


def known_body(container: Container) -> Body:
    """Return the body that /invocations answers.

    Raises:
        SkippedError: there is none.
    """
    body = container.once(find_invocation).body
    if body is None:
        raise SkippedError("/invocations answers no body that is known: give --body")
    return body


def known_document(container: Container) -> Body:
    """Return the body that /invocations answers, if it is a JSON object."""
    body = known_body(container)
    if body.document is None:
        raise SkippedError("the body of --body is not a JSON object")
    return body


def model_of(document: Any) -> str:
    """Return the model that an answer names, or ""."""
    model = document.get("model") if isinstance(document, dict) else None
    return model if isinstance(model, str) else ""
