"""Checks that register the adapters of --adapters, and remove them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final
from urllib.parse import quote

from ..check import Need, check
from ..container import ADAPTER_HEADER, Container
from ..discovery import known_document
from ..exchange import Exchange, cut
from ..expect import expect, expect_object, expect_status
from ..verdict import FailedError, SkippedError
from .adapters import require_adapters
from .streams import check_stream, stream_body

_CALLS: Final = "reference/http.md#adapter-calls"
_REFUSED: Final = "how-to/adapters.md#what-is-refused"
_MODELS: Final = "reference/http.md#models-and-adapters-in-a-request"
_NAMES: Final = "how-to/adapters.md#names"
_TOGETHER: Final = 4
_TOKENS: Final = 64


def _source(container: Container, number: int = 0) -> str:
    """Return the path of an adapter of --adapters."""
    require_adapters(container)
    sources = [*container.options.adapters.values()]
    if number >= len(sources):
        raise SkippedError(f"it needs {number + 1} adapters in --adapters")
    return sources[number]


@contextmanager
def _registered(container: Container, suffix: str = "") -> Iterator[str]:
    """Register an adapter for the block, and yield its name."""
    source = _source(container)
    name = container.new_name() + suffix
    expect_status(container.register(name, source), 200)
    try:
        yield name
    finally:
        container.remove(name)


@check(
    "adapters-register", "POST /adapters registers an adapter", _CALLS, Need.ADAPTERS
)
def register(container: Container) -> str:
    source, name = _source(container), container.new_name()
    exchange = expect_status(container.register(name, source), 200)
    expect_status(container.delete(name), 200)
    return cut(exchange.text, 200) or exchange.outcome


@check(
    "adapters-query",
    "POST /adapters takes query parameters without a body, as the platform sends them",
    _CALLS,
    Need.ADAPTERS,
)
def by_query(container: Container) -> str:
    source, name = _source(container), container.new_name()
    exchange = expect_status(container.register_by_query(name, source), 200)
    expect_status(container.delete(name), 200)
    return cut(exchange.text, 200) or exchange.outcome


@check(
    "adapters-answer",
    "An adapter answers requests that name it in the header or as their model",
    _MODELS,
    Need.ADAPTERS,
)
def answer(container: Container) -> str:
    body = known_document(container)
    with _registered(container) as name:
        by_header = container.invoke(body, {ADAPTER_HEADER: name})
        by_model = container.invoke(body.with_fields(model=name))
        expect_status(by_header, 200)
        expect_status(by_model, 200)
        base = expect_status(container.invoke(body), 200)
    note = " (the same text as the base model's)" if _alike(base, by_header) else ""
    return f"both are 200{note}"


def _alike(base: Exchange, other: Exchange) -> bool:
    choices = [exchange.document() for exchange in (base, other)]
    texts = [found.get("choices") for found in choices if isinstance(found, dict)]
    return len(texts) == 2 and texts[0] is not None and texts[0] == texts[1]


@check(
    "adapters-again", "The same registration again is a 200", _REFUSED, Need.ADAPTERS
)
def again(container: Container) -> str:
    with _registered(container) as name:
        return expect_status(container.register(name, _source(container)), 200).outcome


@check(
    "adapters-conflict",
    "The same name from another src is a 409",
    _REFUSED,
    Need.ADAPTERS,
)
def conflict(container: Container) -> str:
    other = _source(container, 1)
    with _registered(container) as name:
        return expect_status(container.register(name, other), 409).outcome


@check(
    "adapters-concurrent",
    "The same registration, sent 4 times at once, is a 200 each time",
    _REFUSED,
    Need.ADAPTERS,
)
def concurrent(container: Container) -> str:
    source, name = _source(container), container.new_name()
    calls = [partial(container.register, name, source) for _ in range(_TOGETHER)]
    try:
        for exchange in container.together([*calls]):
            expect_status(exchange, 200)
    finally:
        container.remove(name)
    return f"{_TOGETHER} times 200"


@check("adapters-read", "A registered adapter is listed", _CALLS, Need.ADAPTERS)
def read(container: Container) -> str:
    with _registered(container) as name:
        one = expect_object(expect_status(container.get(f"/adapters/{name}"), 200))
        expect(
            one.get("name") == name, f"GET /adapters/{name} names {one.get('name')!r}"
        )
        expect(name in _listed_names(container), f"{name} is not listed")
    return f"status {one.get('status')!r}"


def _listed_names(container: Container) -> list[object]:
    """Return all names of the list, page by page."""
    names: list[object] = []
    path = "/adapters?limit=1"
    for _ in range(1000):
        document = expect_object(expect_status(container.get(path), 200))
        page = document.get("adapters")
        if not isinstance(page, list) or len(page) > 1:
            raise FailedError(f"limit=1 gave {page!r}")
        names += [entry.get("name") for entry in page if isinstance(entry, dict)]
        if not (token := document.get("next_page_token")):
            break
        path = f"/adapters?limit=1&next_page_token={_quoted(token)}"
    return names


def _quoted(token: object) -> str:
    return quote(str(token), safe="", errors="replace")


@check(
    "adapters-update",
    "POST /adapters/NAME/update changes an adapter",
    _CALLS,
    Need.ADAPTERS,
)
def update(container: Container) -> str:
    with _registered(container) as name:
        path = f"/adapters/{name}/update?preload=true"
        outcome = expect_status(container.client.request("POST", path), 200).outcome
    expect_status(container.client.request("POST", path), 404)
    return f"{outcome}; of an unknown one 404"


@check(
    "adapters-names",
    "A name with / and other signs can be read and deleted",
    _NAMES,
    Need.ADAPTERS,
)
def names(container: Container) -> str:
    with _registered(container, "/fr+1 é") as name:
        expect_status(container.get(f"/adapters/{quote(name)}"), 200)
        expect_status(container.delete(name), 200)
        expect_status(container.get(f"/adapters/{quote(name)}"), 404)
    return repr(name)


@check(
    "adapters-folder",
    "A folder that is not an adapter is a 400",
    _REFUSED,
    Need.ADAPTERS,
)
def not_an_adapter(container: Container) -> str:
    name = container.new_name()
    folder = str(Path(_source(container)).parent)
    exchange = container.register(name, folder)
    if exchange.status == 200:
        container.remove(name)
    return expect_status(exchange, 400).outcome


@check("adapters-delete", "A deleted adapter is gone at once", _CALLS, Need.ADAPTERS)
def delete(container: Container) -> str:
    body = known_document(container)
    with _registered(container) as name:
        expect_status(container.delete(name), 200)
        expect_status(container.delete(name), 404)
        expect_status(container.get(f"/adapters/{name}"), 404)
        expect_status(container.invoke(body, {ADAPTER_HEADER: name}), 404)
    return "404 from then on"


@check(
    "adapters-stream",
    "A stream of an adapter is finished, though the adapter is deleted meanwhile",
    "explanation/adapters.md",
    Need.ADAPTERS,
)
def delete_under_stream(container: Container) -> str:
    body = stream_body(container, tokens=_TOKENS)
    begun = Event()

    def has_begun(_: Exchange) -> bool:
        begun.set()
        return True

    def stream() -> Exchange:
        try:
            return container.invoke(body, {ADAPTER_HEADER: name}, on_part=has_begun)
        finally:
            begun.set()

    def delete_then() -> Exchange:
        begun.wait()
        return container.delete(name)

    with _registered(container) as name:
        exchange, deleted = container.together([stream, delete_then])
    expect_status(deleted, 200)
    return f"{len(check_stream(exchange))} events"
