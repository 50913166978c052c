"""SGLang's warm-up: the requests that a starting server sends to itself."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

_LOOPBACK: Final = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1", "localhost"})


def send_key(module: ModuleType, key: str, host: str | None) -> None:
    """Send our API key with SGLang's warm-up: a refused one ends the server.

    Args:
        module: the module of the server, which sends them by ``requests``.
        key: the key, which SGLang does not know.
        host: the address of the server, if it is known.
    """
    if not isinstance(module.requests, _RequestsWithKey):
        module.requests = _RequestsWithKey(module.requests, key, host)  # type: ignore[attr-defined]


class _RequestsWithKey:
    """The module ``requests``, with a key for requests to this machine."""

    def __init__(self, requests: Any, key: str, host: str | None) -> None:
        self._requests = requests
        self._hosts = _LOOPBACK | {host}
        self._headers = {"Authorization": f"Bearer {key}"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)

    def get(self, url: str, **kwargs: Any) -> Any:
        return self._requests.get(url, **self._with_key(url, kwargs))

    def post(self, url: str, **kwargs: Any) -> Any:
        return self._requests.post(url, **self._with_key(url, kwargs))

    def _with_key(self, url: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        if urlsplit(url).hostname not in self._hosts:
            return kwargs
        headers = {**self._headers, **(kwargs.get("headers") or {})}
        return {**kwargs, "headers": headers}
