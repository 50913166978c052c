"""Random operations by two managers of one folder, compared with a dict."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from model_hosting_container_standards.exceptions import SessionNotFoundError
from model_hosting_container_standards.sessions.manager import Session, SessionManager
from model_hosting_container_standards.sessions.store import SessionFile
from session_client import Clock, count

LIFE: Final = 100
#: Ids that an engine may return, also repeatedly.
ENGINE_IDS: Final = (None, "a", "a/b", 1, "1")

places = st.integers(0, 1)
picks = st.integers(0, 1_000)
keys = st.sampled_from(["", "a", "b"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=3,
)


class ExpectedSession:
    """The expected state of a session."""

    def __init__(self, expires: float, engine_id: Any) -> None:
        self.expires = expires
        self.engine_id = engine_id
        self.values: dict[str, Any] = {}


class Sessions(RuleBasedStateMachine):
    """Compare managers with a dict; ended sessions stay among the ids tried."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock(self.patch)
        self.path = Path(self.folder.name, "sessions")
        self.managers = [
            SessionManager(SessionFile.in_folder(self.path), LIFE) for _ in range(2)
        ]
        self.ids = ["unknown"]
        #: Session objects that handlers keep from earlier requests.
        self.kept: list[Session] = []
        self.model: dict[str, ExpectedSession] = {}

    def teardown(self) -> None:
        for manager in self.managers:
            manager.close()
        self.patch.undo()
        self.folder.cleanup()

    # --- rules ------------------------------------------------------------------------

    @rule(place=places, engine_id=st.sampled_from(ENGINE_IDS))
    def create(self, place: int, engine_id: Any) -> None:
        session = self.managers[place].create_session(engine_id)
        assert 0 <= session.expires_at - self.clock.now - LIFE < 1
        if session.session_id in self.model:
            assert engine_id in ("a", 1, "1")
        if engine_id is None:
            engine_id = session.session_id
        self.model[session.session_id] = ExpectedSession(session.expires_at, engine_id)
        self.ids.append(session.session_id)
        self.kept.append(session)

    @rule(place=places, pick=picks)
    def find(self, place: int, pick: int) -> None:
        session_id = self.ids[pick % len(self.ids)]
        known = self.live(session_id)
        if known is None:
            with pytest.raises(SessionNotFoundError):
                self.managers[place].get_session(session_id)
            return
        session = self.managers[place].get_session(session_id)
        assert session.session_id == session_id
        assert session.expires_at == known.expires
        assert session.engine_id == known.engine_id
        assert type(session.engine_id) is type(known.engine_id)
        self.kept.append(session)

    @rule(pick=picks, key=keys, value=values)
    def put(self, pick: int, key: str, value: Any) -> None:
        session = self.pick_session(pick)
        if session is None:
            return
        known = self.live(session.session_id)
        if known is None:
            with pytest.raises(SessionNotFoundError):
                session.put(key, value)
        else:
            session.put(key, value)
            known.values[key] = value

    @rule(pick=picks, key=keys)
    def get(self, pick: int, key: str) -> None:
        session = self.pick_session(pick)
        if session is None:
            return
        known = self.live(session.session_id)
        if known is None:
            with pytest.raises(SessionNotFoundError):
                session.get(key)
        else:
            assert session.get(key, "default") == known.values.get(key, "default")

    @rule(place=places, pick=picks)
    def close(self, place: int, pick: int) -> None:
        session_id = self.ids[pick % len(self.ids)]
        if self.live(session_id) is None:
            with pytest.raises(SessionNotFoundError):
                self.managers[place].close_session(session_id)
        else:
            self.managers[place].close_session(session_id)
            del self.model[session_id]

    @rule(pick=picks)
    def remove(self, pick: int) -> None:
        session = self.pick_session(pick)
        if session is None:
            return
        if self.live(session.session_id) is None:
            with pytest.raises(SessionNotFoundError):
                session.remove()
        else:
            session.remove()
            del self.model[session.session_id]

    @rule(seconds=st.sampled_from([0.5, 30, LIFE - 1, LIFE + 1]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(place=places)
    def restart_process(self, place: int) -> None:
        """Close a manager, as when its process is replaced; stored values stay."""
        self.managers[place].close()

    # --- invariants -------------------------------------------------------------------

    @invariant()
    def live_sessions_are_stored(self) -> None:
        live = [one for one in self.model if self.live(one)]
        if live:
            assert count(self.path) >= len(live)
        for manager in self.managers:
            for session_id in live:
                assert manager.get_session(session_id).session_id == session_id

    # --- helpers ----------------------------------------------------------------------

    def live(self, session_id: str) -> ExpectedSession | None:
        known = self.model.get(session_id)
        return known if known and known.expires > self.clock.now else None

    def pick_session(self, pick: int) -> Session | None:
        return self.kept[pick % len(self.kept)] if self.kept else None


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
