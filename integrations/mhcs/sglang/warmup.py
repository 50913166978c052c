"""SGLang's warm-up: the requests that a starting server sends to itself."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

_LOOPBACK: Final = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1", "localhost"})
#: The function that sends it with disaggregation, not by ``requests``.
_DISAGGREGATED: Final = "_send_disaggregation_warmup_requests"


def control_warmup(module: ModuleType, key: str | None, host: str | None) -> None:
    """Send our API key with SGLang's warm-up, and make it possible to end it.

    A refused warm-up ends the server.

    Args:
        module: the module of the server, which sends them by ``requests``.
        key: the key, which SGLang does not know; None: there is none.
        host: the address of the server, if it is known.
    """
    if isinstance(module.requests, _Requests):
        return
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    module.requests = _Requests(module.requests, headers, host)  # type: ignore[attr-defined]
    if (send := getattr(module, _DISAGGREGATED, None)) is not None:
        setattr(module, _DISAGGREGATED, _with_headers(send, headers))


def end_warmup(module: ModuleType) -> None:
    """End the warm-up's thread within a second: SGLang waits for it when it stops.

    By itself, it tries to reach the server for two minutes.
    """
    module.requests.has_ended = True


class _Requests:
    """The module ``requests``, with headers for requests to this machine."""

    has_ended = False

    def __init__(
        self, requests: Any, headers: dict[str, str], host: str | None
    ) -> None:
        self._requests = requests
        self._hosts = _LOOPBACK | {host}
        self._headers = headers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)

    def get(self, url: str, **kwargs: Any) -> Any:
        return self._requests.get(url, **self._arguments(url, kwargs))

    def post(self, url: str, **kwargs: Any) -> Any:
        return self._requests.post(url, **self._arguments(url, kwargs))

    def _arguments(self, url: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.has_ended:
            raise SystemExit  # It ends the thread alone, without a traceback.
        if urlsplit(url).hostname not in self._hosts:
            return kwargs
        headers = {**self._headers, **(kwargs.get("headers") or {})}
        return {**kwargs, "headers": headers}


def _with_headers(send: Any, headers: dict[str, str]) -> Any:
    @functools.wraps(send)
    def send_with_headers(*args: Any, **kwargs: Any) -> Any:
        kwargs["headers"] = {**headers, **kwargs["headers"]}
        return send(*args, **kwargs)

    return send_with_headers
