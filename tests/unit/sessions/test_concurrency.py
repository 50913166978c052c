"""Concurrent use of sessions by managers, apps, threads and processes."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from invocations_app import client_of, echo
from model_hosting_container_standards import testing
from model_hosting_container_standards.exceptions import SessionNotFoundError
from model_hosting_container_standards.sessions.manager import SessionManager
from model_hosting_container_standards.sessions.store import SessionFile
from other_process import Other
from session_client import LEGAL_ID, ask, begin, close, not_found, refusal

Start = Callable[..., Other]
LIFE: Final = 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


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


def test_managers_see_each_others_changes_immediately(
    sessions: SessionManager, others: SessionManager
) -> None:
    for number in range(50):
        mine = sessions.create_session()
        theirs = others.get_session(mine.session_id)
        theirs.put("key", number)
        assert mine.get("key") == number
        mine.put("key", [number])
        assert theirs.get("key") == [number]
        assert sessions.get_session(mine.session_id).session_id == mine.session_id
        theirs.remove()
        with pytest.raises(SessionNotFoundError):
            sessions.get_session(mine.session_id)


def test_ids_are_unique_and_legal(sessions: SessionManager) -> None:
    made = [sessions.create_session().session_id for _ in range(200)]
    assert len(set(made)) == 200
    assert all(LEGAL_ID.fullmatch(one) for one in made)


def test_threads_put_and_get_concurrently(sessions: SessionManager) -> None:
    shared = sessions.create_session()

    def work(number: int) -> None:
        mine = sessions.create_session()
        for turn in range(10):
            mine.put("key", [number, turn])
            shared.put(str(number), turn)
            assert sessions.get_session(mine.session_id).get("key") == [number, turn]
            assert shared.get(str(number)) == turn
        if number % 2:
            mine.remove()
            with pytest.raises(SessionNotFoundError):
                mine.get("key")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(40)))
    assert [shared.get(str(number)) for number in range(40)] == [9] * 40


def test_only_one_of_many_threads_closes_session(
    sessions: SessionManager, others: SessionManager
) -> None:
    session_id = sessions.create_session().session_id
    barrier = threading.Barrier(8)

    def end(number: int) -> bool:
        barrier.wait(20)
        try:
            (sessions, others)[number % 2].close_session(session_id)
        except SessionNotFoundError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(end, range(8))) == 1


def _put_many(folder: Path, session_id: str, name: str) -> None:
    session = SessionManager(SessionFile.in_folder(folder), LIFE).get_session(
        session_id
    )
    for turn in range(20):
        session.put("shared", [name * 100_000, turn])
        session.put(name, turn)


def test_concurrent_writes_by_processes_do_not_mix_values(
    sessions: SessionManager, start: Start, folder: Path
) -> None:
    session = sessions.create_session()
    session.put("shared", ["-" * 100_000, 0])
    names = "abc"
    writers = [start(_put_many, folder, session.session_id, name) for name in names]
    seen = set()
    while any(session.get(name) != 19 for name in names):
        text, _ = session.get("shared")
        assert len(text) == 100_000
        assert len(set(text)) == 1
        seen.add(text[0])
    for writer in writers:
        writer.wait_until_done()
    assert session.get("shared")[1] == 19
    assert seen & set(names)


# --- apps of one process --------------------------------------------------------------


@pytest.fixture
def close_all_managers() -> Iterator[None]:
    """Close the managers of all apps; reset closes only the last one."""
    yield
    for found in gc.get_objects():
        if type(found) is SessionManager:
            found.close()


@pytest.mark.usefixtures("close_all_managers")
def test_apps_of_one_process_share_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    first, second = client_of(echo), client_of(echo)
    ids = [begin(first), begin(second)]
    for client in (first, second):
        assert [ask(client, one).status_code for one in ids] == [200, 200]
    assert close(second, ids[0]).status_code == 200
    assert refusal(ask(first, ids[0])) == not_found(ids[0])


@pytest.mark.usefixtures("close_all_managers")
def test_reset_closes_files_of_all_apps(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    for client in [client_of(echo), client_of(echo)]:
        begin(client)
    assert open_files(folder)
    testing.reset()
    assert open_files(folder) == []


def open_files(folder: Path) -> list[Path]:
    links = [*Path("/proc/self/fd").iterdir()]
    files = [link.readlink() for link in links if link.is_symlink()]
    return [file for file in files if file.is_relative_to(folder)]
