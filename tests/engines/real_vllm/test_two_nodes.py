"""A real vLLM on two nodes of this machine; one has no server (``--headless``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import pytest

from metrics_page import scrape
from real import (
    COMPLETION,
    RELEASE,
    VLLM,
    WITH_WORKER,
    VllmServer,
    adapter_path,
    complete,
    requires_vllm,
    serve,
    tiny_model,
)
from real import OPTIONS as MODEL_OPTIONS
from servers import Server, free_port, polling

pytestmark = [
    *requires_vllm,
    pytest.mark.skipif(RELEASE < (0, 11), reason="the guide is for later releases"),
    pytest.mark.skipif(
        not os.environ.get("TEST_NODES"), reason="it takes minutes: make test-nodes"
    ),
]

STALL_S: Final = 4
#: So many that both engines get some.
REQUESTS: Final = 16


class Headless(VllmServer):
    """The node without a server: nothing to wait for."""

    def __init__(self, *options: str) -> None:
        command = [VLLM, "serve", tiny_model(), *MODEL_OPTIONS, *options]
        super().__init__(command, WITH_WORKER)
        self.ready_path = None


class Nodes:
    """Both nodes, with an engine each; clients talk to ``server``."""

    def __init__(self) -> None:
        options = (
            "--data-parallel-size=2",
            "--data-parallel-size-local=1",
            "--data-parallel-address=127.0.0.1",
            f"--data-parallel-rpc-port={free_port()}",
        )
        env = {**WITH_WORKER, "MHCS_PING_STALL_SECONDS": str(STALL_S)}
        self.headless = Headless(*options, "--headless", "--data-parallel-start-rank=1")
        self.server = serve(*options, "--api-server-count=1", env=env)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    with nodes.headless, nodes.server:
        yield nodes


def complete_often(server: Server, adapter: str = "") -> set[str]:
    """Ask many times at once, and return the texts."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        asks = [
            pool.submit(complete, server, "/invocations", adapter)
            for _ in range(REQUESTS)
        ]
        return {ask.result() for ask in asks}


def answered(server: Server) -> dict[str, float]:
    """Return how many requests each engine has answered."""
    page = scrape(server.client)
    name = "vllm:request_success_total"
    engines = page.labels(name, "engine")
    return {engine: page.value(name, engine=engine) for engine in engines}


def test_engines_of_both_nodes_answer(nodes: Nodes) -> None:
    assert len(complete_often(nodes.server)) == 1
    assert min(answered(nodes.server)[engine] for engine in ("0", "1")) > 0


def test_adapter_is_loaded_on_both_nodes(nodes: Nodes) -> None:
    client = nodes.server.client
    base = complete_often(nodes.server)
    body = {"name": "fr", "src": adapter_path("adapter-a")}
    client.post("/adapters", json=body).raise_for_status()
    before = answered(nodes.server)
    [text] = complete_often(nodes.server, "fr")
    assert {text}.isdisjoint(base)
    after = answered(nodes.server)
    assert all(after[engine] > before[engine] for engine in ("0", "1"))
    client.delete("/adapters/fr").raise_for_status()
    assert complete_often(nodes.server) == base


def test_lost_node_makes_ping_fail(nodes: Nodes) -> None:
    """The last test: there is no node 1 after it."""
    nodes.headless.kill()
    with ThreadPoolExecutor(REQUESTS) as pool:
        for _ in range(REQUESTS):
            pool.submit(lose, nodes.server)
        for _ in polling(STALL_S * 10):
            if nodes.server.client.get("/ping").status_code == 503:
                break
        else:
            raise AssertionError("/ping does not notice the lost node")
        nodes.server.kill()


def lose(server: Server) -> None:
    """Send a request that may get no answer."""
    with contextlib.suppress(httpx.TransportError):
        httpx.post(f"{server.url}/invocations", json=COMPLETION, timeout=60)
