"""Processes of a cluster are killed while adapters and sessions are in use.

No text may be wrong, nothing that was registered may be lost, and only requests that
ran on what was killed may fail.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from model_hosting_container_standards.processes.tree import descendants
from promises.requests import SESSION, ask, register, text_of
from ray_server import RayServer, RealRay, requires_ray, serve

pytestmark = requires_ray

REQUESTS: Final = 2000
CLIENTS: Final = 8
NAMES: Final = ("one", "two", "three", "four")
ROUTE: Final = "/v1/completions"
#: What is killed, one after the other: the beginnings of command lines. The last is
#: the process of the second node, with all replicas on it.
KILLED: Final = (
    "ray::CoordinatorActor",
    "ray::ServeReplica:default:SageMakerIngress",
    "ray::ServeReplica:default:SageMakerLLMServer",
    "node",
)
#: The state of a name that is not registered.
ABSENT: Final = ""


@pytest.fixture(scope="module")
def cluster(script: Path) -> Iterator[RayServer]:
    """Two nodes, with two replicas of the model and of the ingress on them."""
    env = {
        "SAGEMAKER_MODEL_PATH": str(script),
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
    }
    with serve(env=env) as server:
        yield server


@pytest.fixture(scope="module")
def sources(
    engine: RealRay, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: engine.write_adapter(root / name, name) for name in ("cats", "dogs")}


class Registrations:
    """What each name may be registered from, while that changes."""

    def __init__(self, names: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self.possible = {name: {ABSENT} for name in names}
        #: The sources that running requests may be answered by, by name.
        self._running: list[tuple[str, set[str]]] = []

    @contextmanager
    def request(self, name: str) -> Iterator[set[str]]:
        """Collect what a request may be answered by, until it has ended."""
        allowed: set[str] = set()
        with self._lock:
            allowed.update(self.possible[name])
            self._running.append((name, allowed))
        try:
            yield allowed
        finally:
            with self._lock:
                self._running = [one for one in self._running if one[1] is not allowed]

    def set(self, name: str, sources: set[str]) -> None:
        with self._lock:
            self.possible[name] = sources
            for running, allowed in self._running:
                if running == name:
                    allowed.update(sources)


class Clients:
    """Send requests under all names, and check each answer."""

    def __init__(
        self, cluster: RayServer, engine: RealRay, texts: dict[str, str]
    ) -> None:
        self.registrations = Registrations([*NAMES])
        self.failed: list[str] = []
        self._cluster = cluster
        self._engine = engine
        self._texts = texts
        self._numbers = itertools.count()
        #: Set after each eighth of the requests.
        self._steps = [threading.Event() for _ in range(8)]

    def send_all(self) -> None:
        with self._cluster.new_client() as client:
            while (number := next(self._numbers)) < REQUESTS:
                self._send(client, random.choice(NAMES))
                if number % (REQUESTS // len(self._steps)) == 0:
                    self._steps[number * len(self._steps) // REQUESTS].set()

    def wait_for_step(self, number: int) -> None:
        assert self._steps[number].wait(300)

    def _send(self, client: httpx.Client, name: str) -> None:
        with self.registrations.request(name) as allowed:
            try:
                answer = ask(client, self._engine, ROUTE, model=name)
            except httpx.TransportError as error:
                self.failed.append(repr(error))
                return
        if answer.status_code >= 500:
            self.failed.append(answer.text)
        elif answer.status_code == 404:
            assert ABSENT in allowed, answer.text
        else:
            texts = {self._texts[source] for source in allowed if source}
            assert text_of(answer) in texts


def change_until(
    done: threading.Event, cluster: RayServer, clients: Clients, sources: dict[str, str]
) -> int:
    """Register, replace and delete adapters, and return how often it worked."""
    worked = 0
    with cluster.new_client() as client:
        while not done.is_set():
            name, source = random.choice(NAMES), random.choice([*sources, ABSENT])
            before = clients.registrations.possible[name]
            clients.registrations.set(name, before | {source})
            try:
                if source:
                    path = sources[source]
                    answer = register(client, name, path, load_inplace=True)
                else:
                    answer = client.delete(f"/adapters/{name}")
            except httpx.TransportError:
                continue  # It may have worked, or not.
            if answer.status_code < 500:
                assert answer.is_success or ABSENT in before, answer.text
                clients.registrations.set(name, {source})
                worked += 1
    return worked


def kill(cluster: RayServer, kind: str) -> None:
    command = "/raylet/raylet" if kind == "node" else kind
    found = [pid for pid in descendants(cluster.pid) if command in command_line(pid)]
    # The first node has the proxy that the clients ask.
    os.kill(max(found), signal.SIGKILL)


def command_line(pid: int) -> str:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return arguments[0].decode()


def read_texts(
    client: httpx.Client, engine: RealRay, sources: dict[str, str]
) -> dict[str, str]:
    texts = {}
    for name, src in sources.items():
        register(client, "reference", src).raise_for_status()
        texts[name] = text_of(ask(client, engine, ROUTE, model="reference"))
        client.delete("/adapters/reference").raise_for_status()
    assert len({*texts.values()}) == 2
    return texts


def count(client: httpx.Client, session: str) -> int:
    """Return how many requests the session has had, which the script counts."""
    answer = client.post("/invocations", json={}, headers={SESSION: session})
    number: int = answer.raise_for_status().json()["count"]
    return number


def test_no_text_is_wrong_and_nothing_is_lost(
    cluster: RayServer, engine: RealRay, sources: dict[str, str]
) -> None:
    with cluster.new_client() as client:
        texts = read_texts(client, engine, sources)
        register(client, "steady", sources["cats"]).raise_for_status()
        begun = client.post("/invocations", json={"requestType": "NEW_SESSION"})
        session = begun.headers[SESSION].partition(";")[0]
    clients = Clients(cluster, engine, texts)
    done = threading.Event()
    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        changing = threads.submit(change_until, done, cluster, clients, sources)
        sending = [threads.submit(clients.send_all) for _ in range(CLIENTS)]
        try:
            for number, kind in enumerate(KILLED):
                clients.wait_for_step(2 * number)
                with cluster.new_client() as client:
                    assert count(client, session) == number + 1
                kill(cluster, kind)
            for one in sending:
                one.result()
        finally:
            done.set()
        assert changing.result() > 1
    assert len(clients.failed) <= CLIENTS * len(KILLED), clients.failed
    with cluster.new_client() as client:
        assert count(client, session) == len(KILLED) + 1
        listed = client.get("/adapters").json()["adapters"]
        found = {adapter["name"]: adapter["src"] for adapter in listed}
        assert found.pop("steady") == sources["cats"]
        assert text_of(ask(client, engine, ROUTE, model="steady")) == texts["cats"]
    by_path = {path: source for source, path in sources.items()}
    for name, possible in clients.registrations.possible.items():
        assert by_path.get(found.get(name, ""), ABSENT) in possible
