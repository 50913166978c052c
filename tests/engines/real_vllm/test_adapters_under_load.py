"""Adapters that change under load, and that are restored after a crash."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from real import ADAPTER, ADAPTERS, COMPLETION, PINS, requires_vllm

from .conftest import Deployment, copy_adapter, truncate_weights

pytestmark = requires_vllm

TRAFFIC_S = 12.0
CALLS = 50
NAMES = ("one", "two", "three")


def invoke(client: httpx.Client, adapter: str) -> httpx.Response:
    headers = {ADAPTER: adapter}
    return client.post("/invocations", json=COMPLETION, headers=headers)


def text_of(answer: httpx.Response) -> str:
    text: str = answer.json()["choices"][0]["text"]
    return text


def register(client: httpx.Client, name: str, src: str) -> httpx.Response:
    return client.post("/adapters", json={"name": name, "src": src})


def expected_texts(client: httpx.Client) -> dict[str, str]:
    """Return the text of each source of an adapter."""
    texts = {}
    for src in ADAPTERS:
        register(client, "reference", src).raise_for_status()
        texts[src] = text_of(invoke(client, "reference"))
        client.delete("/adapters/reference").raise_for_status()
    return texts


class RequestLoops:
    """Threads that send requests without pause until the context ends."""

    def __init__(self, *ask: Callable[[], None]) -> None:
        self._ask = ask
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(len(ask))

    def __enter__(self) -> None:
        self._running = [self._threads.submit(self._run, ask) for ask in self._ask]

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._threads.shutdown()
        for running in self._running:
            running.result()

    def _run(self, ask: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            ask()


def test_requests_get_correct_text_while_adapters_change(
    deployment: Deployment,
) -> None:
    with deployment.new_client() as client:
        texts = expected_texts(client)
        register(client, "steady", "adapter-a").raise_for_status()
        answered: dict[str, int] = {"steady": 0, "changing": 0, "missing": 0}

        def ask(name: str, allowed: set[str]) -> Callable[[], None]:
            own = deployment.new_client()

            def once() -> None:
                answer = invoke(own, name)
                if answer.status_code == 404 and name == "changing":
                    answered["missing"] += 1
                    return
                assert answer.status_code == 200, answer.text
                assert text_of(answer) in allowed
                answered[name] += 1

            return once

        # "changing" is either of the two adapters, or missing. The base model is not
        # used: on a CPU, vLLM gives it the weights of an adapter that runs at the same
        # time (its lookup of "none" is an index of -1).
        loops = RequestLoops(
            ask("steady", {texts["adapter-a"]}),
            ask("changing", {*texts.values()}),
            ask("changing", {*texts.values()}),
        )
        with loops:
            end = time.monotonic() + (
                TRAFFIC_S if deployment.processes > 1 else TRAFFIC_S / 4
            )
            rounds = 0
            while time.monotonic() < end or rounds < 4:
                src = ADAPTERS[rounds % 2]
                assert register(client, "changing", src).status_code == 200
                # From now on every process must answer with this text.
                for _ in range(2):
                    assert text_of(invoke(client, "changing")) == texts[src]
                assert client.delete("/adapters/changing").status_code == 200
                assert invoke(client, "changing").status_code == 404
                rounds += 1
    assert all(answered.values()), answered


class CallLog:
    """The calls so far, and the adapters that they may leave registered."""

    def __init__(self) -> None:
        self.completed: dict[str, str] = {}
        #: The name and the source of the pending call; the source is None to delete.
        self.open: tuple[str, str | None] | None = None
        self._begun = threading.Semaphore(0)

    def __repr__(self) -> str:
        return f"completed: {self.completed}, open: {self.open}"

    def begin(self, name: str, src: str | None) -> None:
        self.open = (name, src)
        self._begun.release()

    def end(self, name: str, src: str | None) -> None:
        self.open = None
        if src is None:
            del self.completed[name]
        else:
            self.completed[name] = src

    def wait_until_started(self, call: int) -> None:
        """Return once the call of this index has been started."""
        for _ in range(call + 1):
            assert self._begun.acquire(timeout=60)

    def allows(self, name: str, src: str | None) -> bool:
        possible = {self.completed.get(name)}
        if self.open is not None and self.open[0] == name:
            possible.add(self.open[1])
        return src in possible


def make_calls(client: httpx.Client, log: CallLog, seed: int) -> None:
    """Load and unload adapters at random, and log the calls, until the server dies."""
    choices = random.Random(seed)
    for _ in range(CALLS):
        name = choices.choice(NAMES)
        src = None if name in log.completed else choices.choice(ADAPTERS)
        log.begin(name, src)
        if src is None:
            client.delete(f"/adapters/{name}").raise_for_status()
        else:
            register(client, name, src).raise_for_status()
        log.end(name, src)


#: Registered before the crash; the first two are damaged during it.
OTHER_ADAPTERS: list[dict[str, Any]] = [
    {"name": "moved", "src": "moved"},
    {"name": "broken", "src": "broken"},
    {"name": "pinned", "src": "adapter-a", "pin": PINS},
    {"name": "later", "src": "adapter-b", "preload": False},
]


def test_completed_calls_survive_crash(deployment: Deployment) -> None:
    seed, log = random.randrange(1_000_000), CallLog()
    for name in ("moved", "broken"):
        copy_adapter("adapter-a", deployment.root / name)
    with deployment.new_client() as client, ThreadPoolExecutor() as threads:
        texts = expected_texts(client)
        for body in OTHER_ADAPTERS:
            assert client.post("/adapters", json=body).status_code == 200
        calls = threads.submit(make_calls, client, log, seed)
        log.wait_until_started(random.Random(seed).randrange(CALLS))
        deployment.server.kill()
        failed = calls.exception()
    assert failed is None or isinstance(failed, httpx.TransportError), failed
    shutil.rmtree(deployment.root / "moved")
    truncate_weights(deployment.root / "broken")

    deployment.restart()
    with deployment.new_client() as client:
        assert client.get("/ping").status_code == 200
        listed = {a["name"]: a for a in client.get("/adapters").json()["adapters"]}
        models = {model["id"] for model in client.get("/v1/models").json()["data"]}
        assert models == {"tiny", *listed} - {"moved", "broken"}
        for name in NAMES:
            src = listed[name]["src"] if name in listed else None
            assert log.allows(name, src), (seed, name, src, log)
        for name in models - {"tiny"}:
            adapter = listed[name]
            assert adapter["status"] == ("registered" if name == "later" else "loaded")
            assert text_of(invoke(client, name)) == texts[adapter["src"]]
        assert listed["pinned"]["pin"] == PINS
        check_failed_adapters(client, deployment.root, listed)


def check_failed_adapters(
    client: httpx.Client, root: Path, listed: dict[str, dict[str, Any]]
) -> None:
    for name in ("moved", "broken"):
        assert listed[name]["status"] == "failed"
        assert listed[name]["reason"]
        assert invoke(client, name).status_code == 404
    # With repaired files it can be registered again.
    copy_adapter("adapter-a", root / "broken")
    register(client, "broken", "broken").raise_for_status()
    assert text_of(invoke(client, "broken")) == text_of(invoke(client, "pinned"))
