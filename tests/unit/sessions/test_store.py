"""Sessions as handlers use them: values, visibility and expiration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from model_hosting_container_standards.exceptions import SessionNotFoundError
from model_hosting_container_standards.sessions.manager import Session, SessionManager
from model_hosting_container_standards.sessions.store import SessionFile
from session_client import Clock, count

#: The lifetime of these tests' sessions in seconds.
LIFE: Final = 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def sessions(folder: Path) -> Iterator[SessionManager]:
    sessions = SessionManager(SessionFile.in_folder(folder), LIFE)
    yield sessions
    sessions.close()


@pytest.fixture
def others(folder: Path) -> Iterator[SessionManager]:
    """Open a second manager of the same sessions, as in another process."""
    sessions = SessionManager(SessionFile.in_folder(folder), LIFE)
    yield sessions
    sessions.close()


# --- values ---------------------------------------------------------------------------

VALUES: Final[list[Any]] = [
    None,
    True,
    0,
    -1.5e300,
    2**70,
    "",
    "caf\u00e9 \u0000 \U0001f600 \ud800",
    [],
    {},
    [1, [None, {"a": {"": "b"}}]],
    "x" * 5_000_000,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_any_json_value_is_stored_unchanged(
    sessions: SessionManager, others: SessionManager, value: Any
) -> None:
    session = sessions.create_session()
    session.put("key", value)
    for found in (session, others.get_session(session.session_id)):
        kept = found.get("key", "default")
        assert (type(kept), kept) == (type(value), value)


@pytest.mark.parametrize(
    "key", ["", "a", "A", "a\0b", "'; --", "caf\u00e9", "k" * 9999]
)
def test_any_string_can_be_a_key(sessions: SessionManager, key: str) -> None:
    session = sessions.create_session()
    session.put("other", 1)
    assert session.get(key) is None
    session.put(key, 2)
    assert (session.get(key), session.get("other")) == (2, 1)


def test_missing_key_returns_default(sessions: SessionManager) -> None:
    session = sessions.create_session()
    default = object()
    assert session.get("key") is None
    assert session.get("key", default) is default
    session.put("key", None)
    assert session.get("key", default) is None


def test_put_replaces_value(sessions: SessionManager, folder: Path) -> None:
    session = sessions.create_session()
    for value in ({"a": 1}, [2], "three"):
        session.put("key", value)
        assert session.get("key") == value
    assert count(folder, "session_values") == 1


def test_sessions_do_not_share_values(sessions: SessionManager) -> None:
    first, second = sessions.create_session(), sessions.create_session()
    first.put("key", 1)
    assert second.get("key") is None
    second.put("key", 2)
    second.remove()
    assert first.get("key") == 1


@pytest.mark.parametrize("key", [None, 1, b"key", ["key"]])
def test_key_that_is_not_a_string_is_an_error(
    sessions: SessionManager, key: Any
) -> None:
    session = sessions.create_session()
    with pytest.raises(TypeError, match="string"):
        session.put(key, 1)
    with pytest.raises(TypeError, match="string"):
        session.get(key)


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), {1}, object(), b"bytes", [{"a": {2}}], circle()],
    ids=lambda value: type(value).__name__,
)
def test_value_that_is_not_json_is_an_error(
    sessions: SessionManager, value: Any
) -> None:
    session = sessions.create_session()
    session.put("key", "old")
    with pytest.raises(TypeError, match="'key' is not JSON"):
        session.put("key", value)
    assert session.get("key") == "old"


def test_lone_surrogate_key_is_stored_or_a_type_error(
    sessions: SessionManager,
) -> None:
    session = sessions.create_session()
    try:
        session.put("\ud800", 1)
        assert session.get("\ud800") == 1
    except TypeError:
        pass


def test_value_is_returned_as_parsed_json(sessions: SessionManager) -> None:
    session = sessions.create_session()
    session.put("key", {1: ("one", None)})
    assert session.get("key") == {"1": ["one", None]}


# --- the end of a session -------------------------------------------------------------


def check_not_found(session: Session, sessions: SessionManager) -> None:
    message = f"session not found: {session.session_id}"
    for use in (
        lambda: sessions.get_session(session.session_id),
        lambda: session.put("key", 1),
        lambda: session.get("key"),
        session.remove,
        lambda: sessions.close_session(session.session_id),
    ):
        with pytest.raises(SessionNotFoundError) as caught:
            use()
        assert str(caught.value) == message


@pytest.mark.parametrize("by", ["remove", "close_session"])
def test_closed_session_is_not_found(
    sessions: SessionManager, others: SessionManager, folder: Path, by: str
) -> None:
    session = sessions.create_session()
    session.put("key", 1)
    # Both managers cache the session before it is closed.
    assert sessions.get_session(session.session_id).get("key") == 1
    same_session = others.get_session(session.session_id)
    if by == "remove":
        session.remove()
    else:
        others.close_session(session.session_id)
    check_not_found(session, sessions)
    check_not_found(same_session, others)
    assert (count(folder), count(folder, "session_values")) == (0, 0)


def test_expired_session_is_not_found(
    clock: Clock, sessions: SessionManager, others: SessionManager
) -> None:
    session = sessions.create_session()
    session.put("key", 1)
    same_session = others.get_session(session.session_id)
    clock.now = session.expires_at - 0.001
    assert same_session.get("key") == 1
    assert others.get_session(session.session_id).session_id == session.session_id
    clock.now = session.expires_at
    # First the manager with a cached copy: only the time has changed.
    check_not_found(same_session, others)
    check_not_found(session, sessions)


def test_session_expires_after_configured_time(
    clock: Clock, sessions: SessionManager
) -> None:
    expires = sessions.create_session().expires_at
    assert clock.now + LIFE <= expires < clock.now + LIFE + 1


def test_sessions_expire_independently(
    clock: Clock, sessions: SessionManager, others: SessionManager
) -> None:
    made = []
    for _ in range(5):
        made.append(sessions.create_session().session_id)
        clock.now += 10
    clock.now += LIFE - 30
    for session_id in made[:2]:
        with pytest.raises(SessionNotFoundError):
            others.get_session(session_id)
    assert [others.get_session(one).session_id for one in made[3:]] == made[3:]
