"""Requests of a client with sessions, the stored rows, and a clock."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from invocations_app import SESSION
from model_hosting_container_standards.sessions import manager, store
from model_hosting_container_standards.storage import container_id

NEW_SESSION: Final = "X-Amzn-SageMaker-New-Session-Id"
CLOSED_SESSION: Final = "X-Amzn-SageMaker-Closed-Session-Id"
NEW: Final = {"requestType": "NEW_SESSION"}
CLOSE: Final = {"requestType": "CLOSE"}
LEGAL_ID: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")


class Clock:
    """The clock of the session modules, which a test advances."""

    def __init__(
        self, patch: pytest.MonkeyPatch, now: float = 1_800_000_000.25
    ) -> None:
        self.now = now
        for module in (manager, store):
            patch.setattr(module, "time", self)

    def time(self) -> float:
        return self.now


def begin(client: Any) -> str:
    """Begin a session, and return its id."""
    answer = client.post("/invocations", json=NEW)
    assert answer.status_code == 200, answer.text
    session_id, expires, _ = re.split("; Expires=|$", answer.headers[SESSION])
    assert expires
    assert len(session_id) <= 256
    assert LEGAL_ID.fullmatch(session_id)
    return session_id


def ask(client: Any, session_id: str, body: Any = None) -> Any:
    return client.post("/invocations", json=body or {}, headers={SESSION: session_id})


def close(client: Any, session_id: str) -> Any:
    return client.post("/invocations", json=CLOSE, headers={SESSION: session_id})


def not_found(session_id: str) -> tuple[int, str]:
    return 400, f"Bad request: session not found: {session_id}"


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]


def database(folder: Path) -> Path:
    """Return the sessions' database file below SAGEMAKER_SESSIONS_PATH."""
    return folder / f"mhcs-{container_id()}" / "sessions.sqlite3"


def count(folder: Path, table: str = "sessions WHERE id IS NOT NULL") -> int:
    """Return the number of rows; a closed session has no id."""
    with closing(sqlite3.connect(database(folder))) as connection:
        (rows,) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
        return int(rows)


def content(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the folder's file names, and a dump of the database."""
    with closing(sqlite3.connect(database(folder))) as connection:
        return sorted(folder.rglob("*")), [*connection.iterdump()]
