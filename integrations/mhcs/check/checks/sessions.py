"""Checks of sticky sessions."""

from __future__ import annotations

import re
from typing import Any, Final

from ..body import json_body
from ..check import check
from ..container import SESSION_HEADER, Container
from ..discovery import known_body
from ..exchange import Exchange
from ..expect import expect, expect_no_failure, expect_status
from ..verdict import NotOfferedError

_BEGIN: Final = "how-to/sessions.md#begin-use-and-close-a-session"
_RULES: Final = "how-to/sessions.md#rules"
_NEW: Final = "X-Amzn-SageMaker-New-Session-Id"
_CLOSED: Final = "X-Amzn-SageMaker-Closed-Session-Id"
#: What the platform reads of the header's value.
_ID: Final = r"[a-zA-Z0-9](?:-*[a-zA-Z0-9])*"
_VALUE: Final = re.compile(
    rf"({_ID}); Expires=\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII
)
_UNKNOWN: Final = "mhcs-check-no-such-session"


def _control(
    container: Container, session_id: str | None = None, **document: Any
) -> Exchange:
    headers = {} if session_id is None else {SESSION_HEADER: session_id}
    return container.invoke(json_body(document), headers)


def _session_of(container: Container, exchange: Exchange) -> str | None:
    """Return the id of the session that an answer begins, None if it begins none."""
    value = exchange.header(_NEW) or exchange.header(SESSION_HEADER)
    if exchange.status != 200 or value is None:
        return None
    session_id = value.partition(";")[0].strip()
    container.note_session(session_id)
    return session_id


def _begin(container: Container) -> str:
    """Begin a session, and return its id.

    Raises:
        NotOfferedError: sessions are off, or the container does not know them.
    """
    exchange = expect_no_failure(_control(container, requestType="NEW_SESSION"))
    session_id = _session_of(container, exchange)
    if session_id is None:
        raise NotOfferedError(f"NEW_SESSION begins no session: {exchange.outcome}")
    return session_id


@check("sessions-new", "NEW_SESSION begins a session, and says until when", _BEGIN)
def new(container: Container) -> str:
    exchange = expect_no_failure(_control(container, requestType="NEW_SESSION"))
    if _session_of(container, exchange) is None:
        raise NotOfferedError(f"NEW_SESSION begins no session: {exchange.outcome}")
    for name in (SESSION_HEADER, _NEW):
        value = exchange.header(name) or ""
        match = _VALUE.fullmatch(value)
        expect(match is not None, f"{name}: {value!r} is not ID; Expires=TIME")
    container.close_session(value.partition(";")[0])
    return value


@check("sessions-use", "A request in a session is answered", _BEGIN)
def use(container: Container) -> str:
    session_id = _begin(container)
    headers = {SESSION_HEADER: session_id}
    for _ in range(2):
        exchange = container.invoke(known_body(container), headers)
        expect_status(exchange, 200)
    container.close_session(session_id)
    return exchange.outcome


@check("sessions-close", "CLOSE ends a session, whose id is a 400 from then on", _BEGIN)
def close(container: Container) -> str:
    session_id = _begin(container)
    exchange = expect_status(container.close_session(session_id), 200)
    closed = exchange.header(_CLOSED)
    expect(closed == session_id, f"{_CLOSED} is {closed!r}, not {session_id!r}")
    expect_status(container.close_session(session_id), 400)
    headers = {SESSION_HEADER: session_id}
    expect_status(container.invoke(known_body(container), headers), 400)
    return f"{_CLOSED}: {closed}"


@check("sessions-unknown", "The id of an unknown session is a 400", _RULES)
def unknown(container: Container) -> str:
    container.close_session(_begin(container))
    headers = {SESSION_HEADER: _UNKNOWN}
    exchange = container.invoke(known_body(container), headers)
    expect_status(container.close_session(_UNKNOWN), 400)
    return expect_status(exchange, 400).outcome


@check("sessions-wrong", "A malformed session request is refused", _RULES)
def wrong(container: Container) -> str:
    container.close_session(_begin(container))
    expect_status(_control(container, requestType="OPEN"), 400)
    expect_status(_control(container, requestType="NEW_SESSION", other=1), 400)
    expect_status(_control(container, requestType="CLOSE"), 424)
    return "another type or key is a 400, CLOSE without an id a 424"


@check(
    "sessions-body", "NEW_SESSION in the header begins a session by any body", _BEGIN
)
def by_body(container: Container) -> str:
    container.close_session(_begin(container))
    headers = {SESSION_HEADER: "NEW_SESSION"}
    exchange = expect_status(container.invoke(known_body(container), headers), 200)
    session_id = _session_of(container, exchange)
    expect(session_id is not None, f"the answer has no {_NEW}")
    container.close_session(session_id or "")
    return f"{_NEW}: {exchange.header(_NEW)}"
