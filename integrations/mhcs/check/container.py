"""The container under test, and what the checks have found out about it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

from .body import Body, json_body
from .client import Client, OnPart
from .exchange import Exchange
from .expect import ABSENT
from .verdict import OutOfTimeError, VerdictError

T = TypeVar("T")

#: How long an answer of /ping is waited for, to tell how late it was.
PING_TIMEOUT_S: Final = 10.0

ADAPTER_HEADER: Final = "X-Amzn-SageMaker-Adapter-Identifier"
SESSION_HEADER: Final = "X-Amzn-SageMaker-Session-Id"
ATTRIBUTES_HEADER: Final = "X-Amzn-SageMaker-Custom-Attributes"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user allows and gives.

    Args:
        body: the user's own body for /invocations.
        adapters: paths by the name of their folder.
        drain: the process to end.
        expected: a text of each answer.
    """

    model: str | None = None
    body: Body | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    drain: int | None = None
    expected: str | None = None


class Container:
    """Asks the container, and removes again what it has registered there.

    Args:
        latencies: seconds by the name of a series, for the plots.
    """

    def __init__(self, client: Client, options: Options) -> None:
        self.client = client
        self.options = options
        self.latencies: dict[str, list[float]] = {}
        #: Why it cannot be asked any more, None while it can.
        self.gone: str | None = None
        self._facts: dict[Callable[..., Any], Any] = {}
        self._adapters: set[str] = set()
        self._sessions: set[str] = set()

    def once(self, find: Callable[[Container], T]) -> T:
        """Return what a function finds out about the container, called only once.

        Its :class:`VerdictError` is raised again too.
        """
        if find not in self._facts:
            try:
                self._facts[find] = find(self)
            except VerdictError as error:
                self._facts[find] = error
        fact = self._facts[find]
        if isinstance(fact, VerdictError):
            raise fact
        return cast("T", fact)

    # --- requests ------------------------------------------------------------------

    def get(self, path: str, **options: Any) -> Exchange:
        return self.client.request("GET", path, **options)

    def ping(self, method: str = "GET", **options: Any) -> Exchange:
        timeout = min(PING_TIMEOUT_S, self.client.timeout)
        return self.client.request(method, "/ping", timeout=timeout, **options)

    def invoke(
        self,
        body: Body,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = "/invocations",
        on_part: OnPart | None = None,
        with_key: bool = True,
    ) -> Exchange:
        sent = {"Content-Type": body.content_type, **(headers or {})}
        return self.client.request(
            "POST", path, body.content, sent, on_part=on_part, with_key=with_key
        )

    def together(self, calls: list[Callable[[], T]]) -> list[T]:
        """Return the results of calls that run at the same time."""
        with ThreadPoolExecutor(len(calls)) as threads:
            futures = [threads.submit(call) for call in calls]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self.client.abort()
                raise

    # --- what has to be removed again ----------------------------------------------

    def new_name(self) -> str:
        return f"mhcs-check-{secrets.token_hex(4)}"

    def register(self, name: str, src: str, **fields: Any) -> Exchange:
        """Register an adapter by JSON."""
        body = json_body({"name": name, "src": src, **fields})
        return self._register(name, lambda: self.invoke(body, path="/adapters"))

    def register_by_query(self, name: str, src: str) -> Exchange:
        """Register an adapter as the platform does: no body."""
        path = f"/adapters?name={quote(name, safe='')}&src={quote(src, safe='')}"
        return self._register(name, lambda: self.client.request("POST", path))

    def _register(self, name: str, request: Callable[[], Exchange]) -> Exchange:
        is_refused = False
        try:
            exchange = request()
            is_refused = exchange.is_whole and 300 <= (exchange.status or 0) < 500
            return exchange
        finally:
            # What failed, or was interrupted, may have been registered all the same.
            if not is_refused:
                self._adapters.add(name)

    def delete(self, name: str) -> Exchange:
        exchange = self.client.request("DELETE", f"/adapters/{quote(name)}")
        status = exchange.status or 0
        is_gone = 200 <= status < 300 or status in ABSENT
        if exchange.is_whole and is_gone:
            self._adapters.discard(name)
        return exchange

    def remove(self, name: str) -> None:
        """Delete an adapter unless it has been deleted."""
        if name in self._adapters:
            self.delete(name)

    def note_session(self, session_id: str) -> None:
        self._sessions.add(session_id)

    def close_session(self, session_id: str) -> Exchange:
        self._sessions.discard(session_id)
        headers = {SESSION_HEADER: session_id}
        return self.invoke(json_body({"requestType": "CLOSE"}), headers)

    @property
    def adapters(self) -> list[str]:
        """The names of the adapters that have not been removed."""
        return sorted(self._adapters)

    def restore(self) -> None:
        """Remove what is left, as far as that is possible."""
        with suppress(OutOfTimeError):
            for session_id in sorted(self._sessions):
                self.close_session(session_id)
            for name in self.adapters:
                if self.delete(name).is_unreachable:
                    # The server has ended, and its adapters with it.
                    self._adapters.discard(name)
