"""Session ids in headers, which clients can set to anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from invocations_app import SESSION, client_of, echo
from model_hosting_container_standards import sagemaker
from session_client import CLOSE, ask, begin, content, not_found, refusal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of SAGEMAKER_SESSIONS_PATH."""
    return tmp_path / "sessions"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    return client_of(echo, sagemaker.stateful_session_manager("session"))


UNKNOWN = ["unknown", "A-1", "0", "a" * 256, "2b1f8c5e-8f5e-4f8e-9b1a-000000000000"]


@pytest.mark.parametrize("session_id", UNKNOWN)
@pytest.mark.parametrize("body", [{}, CLOSE])
def test_unknown_id_is_reported(
    client: TestClient, session_id: str, body: Any, folder: Path
) -> None:
    begin(client)
    before = content(folder)
    answer = client.post("/invocations", json=body, headers={SESSION: session_id})
    assert refusal(answer) == not_found(session_id)
    assert content(folder) == before


ILLEGAL = {
    "parent": b"..",
    "a way out": b"../../etc/passwd",
    "absolute": b"/etc/passwd",
    "slash": b"a/b",
    "dot": b"a.b",
    "hyphen first": b"-a",
    "hyphen last": b"a-",
    "underscore": b"a_b",
    "space": b"a b",
    "only a space": b" ",
    "null": b"a\0b",
    "ten kilobytes": b"a" * 10_240,
    "one too long": b"a" * 257,
    "lines": b"a\r\nX-Evil: 1",
    "newline last": b"a\n",
    "unicode": "caf\u00e9".encode(),
    "latin": b"caf\xe9",
    "digits of another script": "\u0661\u0662".encode(),
    "statement": b"' OR 1=1 --",
    "value of the header": b"a; Expires=2030-01-01T00:00:00Z",
}


@pytest.mark.parametrize("name", ILLEGAL)
@pytest.mark.parametrize("body", [{}, CLOSE])
def test_illegal_id_is_rejected_without_side_effects(
    client: TestClient, name: str, body: Any, folder: Path
) -> None:
    begin(client)
    (folder.parent / "a").mkdir()
    before = content(folder), sorted(folder.parent.rglob("*"))
    headers = {SESSION.encode(): ILLEGAL[name]}
    answer = client.post("/invocations", json=body, headers=headers)
    status, detail = refusal(answer)
    assert status == 400
    assert detail.startswith("Bad request: session not found: ")
    # The response repeats neither its line breaks nor its full length.
    assert set("\r\n\0").isdisjoint(detail)
    assert len(detail) < 400
    assert "x-evil" not in answer.headers
    assert (content(folder), sorted(folder.parent.rglob("*"))) == before


def test_empty_header_is_ignored(client: TestClient) -> None:
    begin(client)
    assert ask(client, "").status_code == 200
