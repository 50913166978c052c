"""Sessions of an application, which all of its ingress replicas have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fixtures import Script
from ray_serving import Model, coordinator, serving
from session_client import begin, close, not_found

SESSION = "X-Amzn-SageMaker-Session-Id"
SCRIPT = """
from fastapi import Request
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.sagemaker.sessions.manager import (
    get_session_manager,
)

@sagemaker.invoke
def invoke(request: Request, body: dict):
    session_id = request.headers["X-Amzn-SageMaker-Session-Id"]
    session = get_session_manager().get_session(session_id)
    if "put" in body:
        session.put("value", body["put"])
    return session.get("value")
"""


@pytest.fixture(autouse=True)
def soon(ray_standin: None, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve a handler with sessions, and try again at once."""
    import mhcs.ray.connection
    import mhcs.ray.sessions

    script(SCRIPT)
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    monkeypatch.setattr(mhcs.ray.connection, "_RETRY_S", 0.01)
    monkeypatch.setattr(mhcs.ray.sessions, "_RETRY_S", 0.01)


@pytest.fixture
def clients() -> Iterator[tuple[TestClient, TestClient]]:
    """Clients of two ingress replicas."""
    model = Model(lora=False)
    with serving(tiny=model.handle) as first, serving(tiny=model.handle) as second:
        yield first, second


def ask(client: TestClient, session_id: str, **body: Any) -> Any:
    return client.post("/invocations", json=body, headers={SESSION: session_id})


def store() -> Any:
    from ray._raylet import store

    return store


def stored_sessions() -> int:
    return sum(b"/session/" in key for _, key in store().entries)


def fail_gcs(method: str, _: Any) -> None:
    from ray.exceptions import RpcError

    if method == "put":
        raise RpcError("192.0.2.1 is gone.")


def die_after(method: str) -> None:
    """Let the coordinator die after its next call of a method, before it answers."""
    coordinator().dies_after = lambda _, name, *__: name == method


def test_session_is_that_of_all_ingresses(
    clients: tuple[TestClient, TestClient],
) -> None:
    first, second = clients
    session_id = begin(first)
    assert ask(second, session_id, put="kept").json() == "kept"
    assert ask(first, session_id).json() == "kept"
    assert close(second, session_id).status_code == 200
    for client in clients:
        for answer in (ask(client, session_id), close(client, session_id)):
            given = answer.status_code, answer.json()["detail"]
            assert given == not_found(session_id)
    assert stored_sessions() == 0


def test_expired_session_is_not_found(
    clients: tuple[TestClient, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from model_hosting_container_standards.cluster import session_table

    first, second = clients
    session_id = begin(first)

    class Later:
        time = staticmethod(lambda: time.time() + 100_000)

    monkeypatch.setattr(session_table, "time", Later)
    answer = ask(second, session_id)
    assert (answer.status_code, answer.json()["detail"]) == not_found(session_id)


@pytest.mark.parametrize("refusing", [1, 5])
def test_sessions_survive_the_coordinator(
    clients: tuple[TestClient, TestClient], refusing: int
) -> None:
    first, second = clients
    session_id = begin(first)
    ask(first, session_id, put="kept")
    coordinator().kill(refusing)
    assert ask(second, session_id).json() == "kept"
    assert close(first, session_id).status_code == 200


def test_reading_does_not_wait_for_a_thread(
    clients: tuple[TestClient, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All threads may be waiting for the GCS."""
    first, second = clients
    session_id = begin(first)
    ask(first, session_id, put="kept")

    async def run_in_threadpool(*_: Any) -> None:
        raise TimeoutError("No thread is free.")

    monkeypatch.setattr("mhcs.ray.coordinator.run_in_threadpool", run_in_threadpool)
    assert ask(second, session_id).json() == "kept"
    answer = first.post("/invocations", json={"requestType": "NEW_SESSION"})
    assert answer.status_code == 507  # A change does.


@pytest.mark.parametrize("method", ["create", "put", "end"])
def test_operation_that_succeeded_before_the_coordinator_died(
    clients: tuple[TestClient, TestClient], method: str
) -> None:
    first, second = clients
    calls: dict[str, Callable[[str], Any]] = {
        "put": lambda session_id: ask(first, session_id, put="kept"),
        "end": lambda session_id: close(second, session_id),
    }
    die_after(method)
    session_id = begin(first)
    for call in calls.values():
        assert call(session_id).status_code == 200
    assert ask(first, session_id).status_code == 400
    assert stored_sessions() == 0


def test_coordinator_that_stays_away_is_a_507(
    clients: tuple[TestClient, TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = clients
    session_id = begin(first)
    monkeypatch.setattr("mhcs.ray.sessions._TIMEOUT_S", 0.05)
    coordinator().kill(1_000_000)
    for answer in (
        first.post("/invocations", json={"requestType": "NEW_SESSION"}),
        ask(first, session_id),
    ):
        assert answer.status_code == 507
        assert "no storage" in answer.text


@pytest.mark.parametrize("error", ["GCS", "bug"])
def test_session_that_cannot_be_stored_is_a_507(
    clients: tuple[TestClient, TestClient], monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    from model_hosting_container_standards.cluster.session_table import (
        JournaledSessions,
    )

    first, _ = clients

    def fail(*_: Any) -> None:
        raise KeyError("secret")

    with monkeypatch.context() as patch:
        if error == "GCS":
            patch.setattr(store(), "before", fail_gcs)
        else:
            patch.setattr(JournaledSessions, "create", fail)
        answer = first.post("/invocations", json={"requestType": "NEW_SESSION"})
    assert answer.status_code == 507
    assert answer.json()["detail"] == "NEW_SESSION failed: no storage."
    assert stored_sessions() == 0


def test_sessions_of_an_application_are_one_place() -> None:
    from mhcs.ray.sessions import ClusterSessions

    assert ClusterSessions("one") == ClusterSessions("one")
    assert {ClusterSessions("one"), ClusterSessions("one")} == {ClusterSessions("one")}
    assert ClusterSessions("one") != ClusterSessions("two")
    name: object = "one"
    assert ClusterSessions("one") != name
