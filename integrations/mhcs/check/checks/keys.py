"""Checks of the API key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Final

from model_hosting_container_standards.contract.routes import BIDIRECTIONAL_STREAM

from ..check import Need, check
from ..container import Container
from ..discovery import known_body
from ..exchange import Exchange
from ..expect import ABSENT, expect_status
from ..verdict import FailedError
from ..websocket import WebSocket
from .adapters import list_adapters
from .websockets import require_stream

_KEYS: Final = "how-to/observe.md#keys"
_REFUSED: Final = (401, 403)
_WRONG: Final = {"Authorization": "Bearer mhcs-check-wrong-key"}


@check("keys-ping", "/ping needs no key", _KEYS, Need.API_KEY)
def ping(container: Container) -> str:
    return expect_status(container.ping(with_key=False), 200).outcome


@check("keys-invocations", "/invocations needs the key", _KEYS, Need.API_KEY)
def invocations(container: Container) -> str:
    body = known_body(container)
    _refused(container.invoke(body, path="/invocations", with_key=False))
    _refused(container.invoke(body, _WRONG, with_key=False))
    _refused(container.invoke(body, path="//invocations", with_key=False))
    return "without it, and with a wrong one"


@check("keys-adapters", "/adapters needs the key", _KEYS, Need.API_KEY)
def adapters(container: Container) -> str:
    is_offered = container.once(list_adapters).status != 404
    # Where the routes are there, a 404 without a key is about the adapter: a hole.
    return _all_refused(_adapter_calls(container), (405,) if is_offered else ABSENT)


def _adapter_calls(container: Container) -> Iterator[Exchange]:
    name = container.new_name()
    for method, path in (
        ("GET", "/adapters"),
        ("POST", f"/adapters?name={name}&src=/mhcs-check"),
        ("DELETE", f"/adapters/{name}"),
    ):
        yield container.client.request(method, path, with_key=False)


@check("keys-websockets", "A WebSocket needs the key", _KEYS, Need.API_KEY)
def websocket(container: Container) -> str:
    require_stream(container)
    send = partial(
        container.client.websocket,
        BIDIRECTIONAL_STREAM,
        WebSocket.close,
        with_key=False,
    )
    return _all_refused([send(), send(_WRONG)], absent=())


@check("keys-openai", "The routes of OpenAI need the key", _KEYS, Need.API_KEY)
def openai(container: Container) -> str:
    body = known_body(container)
    paths = ("/v1/completions", "/v1/chat/completions")
    exchanges = [container.invoke(body, path=p, with_key=False) for p in paths]
    exchanges.append(container.get("/v1/models", with_key=False))
    return _all_refused(exchanges)


def _all_refused(
    exchanges: Iterable[Exchange], absent: Collection[int] = ABSENT
) -> str:
    """Check that each is refused; a route that is not there needs no key."""
    return ", ".join(sorted({_refused(exchange, absent) for exchange in exchanges}))


def _refused(exchange: Exchange, absent: Collection[int] = ABSENT) -> str:
    if exchange.status not in (*_REFUSED, *absent):
        text = f"{exchange.request_line} without the right key: {exchange.outcome}"
        raise FailedError(text, exchange)
    return exchange.outcome
