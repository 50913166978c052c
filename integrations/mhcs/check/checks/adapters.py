"""Checks of /adapters that register nothing."""

from __future__ import annotations

from typing import Final

from ..check import check
from ..container import ADAPTER_HEADER, Container
from ..discovery import known_document
from ..exchange import Exchange, cut
from ..expect import expect, expect_object, expect_refusal, expect_status
from ..verdict import FailedError, NotOfferedError

_CALLS: Final = "reference/http.md#adapter-calls"
_REFUSED: Final = "how-to/adapters.md#what-is-refused"
_MODELS: Final = "reference/http.md#models-and-adapters-in-a-request"
_UNKNOWN: Final = "mhcs-check-no-such-adapter"
_NO_FOLDER: Final = "/mhcs-check/no/such/folder"


def list_adapters(container: Container) -> Exchange:
    return container.get("/adapters")


def register_missing(container: Container) -> Exchange:
    """Register an adapter that does not exist: where adapters are on, it is a 404."""
    return container.register(container.new_name(), _NO_FOLDER)


def require_adapters(container: Container) -> None:
    """Return if adapters can be registered.

    Raises:
        NotOfferedError: there is no such route, or adapters are off.
    """
    listing = container.once(list_adapters)
    if listing.status == 404:
        raise NotOfferedError(f"GET /adapters: {listing.outcome}")
    refusal = container.once(register_missing)
    if refusal.status in (400, 405, 501) and _NO_FOLDER not in refusal.text:
        raise NotOfferedError(f"adapters are off: {cut(refusal.text, 200)}")


@check("adapters-list", "GET /adapters lists the adapters", _CALLS)
def listed(container: Container) -> str:
    exchange = container.once(list_adapters)
    container.client.show(exchange)
    if exchange.status in (400, 404, 405):
        raise NotOfferedError(f"GET /adapters: {exchange.outcome}")
    document = expect_object(expect_status(exchange, 200))
    adapters = document.get("adapters")
    expect(isinstance(adapters, list), "the answer has no list of adapters")
    expect("next_page_token" in document, "the answer has no next_page_token")
    return f"{len(adapters or ())} adapters"


@check("adapters-unknown", "GET and DELETE of an unknown adapter are a 404", _CALLS)
def unknown(container: Container) -> str:
    require_adapters(container)
    expect_status(container.get(f"/adapters/{_UNKNOWN}"), 404)
    expect_status(container.delete(_UNKNOWN), 404)
    return "both are 404"


@check(
    "adapters-header",
    "An unknown adapter in the header is a 404, not the base model's answer",
    _MODELS,
)
def unknown_header(container: Container) -> str:
    require_adapters(container)
    headers = {ADAPTER_HEADER: _UNKNOWN}
    exchange = container.invoke(known_document(container), headers)
    if exchange.status == 200:
        raise FailedError(f"{_UNKNOWN!r} was answered as if it were an adapter")
    return expect_status(exchange, 404).outcome


@check("adapters-missing", "A src that does not exist is a 404", _REFUSED)
def missing_source(container: Container) -> str:
    require_adapters(container)
    exchange = container.once(register_missing)
    container.client.show(exchange)
    return expect_status(exchange, 404).outcome


@check("adapters-wrong", "A registration without a name or src is refused", _CALLS)
def wrong(container: Container) -> str:
    require_adapters(container)
    outcomes = set()
    for content in (b"", b"{", b"[]", b'{"name": "a"}', b'{"name": 1, "src": 2}'):
        headers = {"Content-Type": "application/json"}
        exchange = container.client.request("POST", "/adapters", content, headers)
        outcomes.add(expect_refusal(exchange).outcome)
    return ", ".join(sorted(outcomes))
