"""A real Ray Serve LLM of two nodes: replicas that end, that hang, and several models.

Each test needs what is left of the cluster by the one before: all replicas running.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from metrics_page import scrape
from model_hosting_container_standards.processes.tree import descendants
from promises.requests import ask, completion, text_of
from ray_server import RealRay, requires_ray, serve
from servers import Server, polling

pytestmark = requires_ray

#: Parts of the titles of processes.
MODEL_REPLICA: Final = b"SageMakerLLMServer"
INGRESS_REPLICA: Final = b"SageMakerIngress"
ENGINE: Final = b"EngineCore"
#: Seconds for a replica to start while the machine is busy.
START_S: Final = 240
#: So many that a request takes much longer than its client waits.
CHOICES: Final = 64
COMPONENT: Final = "X-Amzn-SageMaker-Inference-Component"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    """A cluster whose replicas are checked every second, and soon called hung."""
    env = {
        "MHCS_PING_STALL_SECONDS": "4",
        "RAY_SERVE_LLM_DEFAULT_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_LLM_DEFAULT_HEALTH_CHECK_TIMEOUT_S": "5",
    }
    with serve("--components", "part", env=env, lora=False) as server:
        yield server


def processes(server: Server, title: bytes) -> list[int]:
    """Return the processes of the cluster with this in their title."""
    found = []
    for pid in descendants(server.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # It has ended.
        if title in command:
            found.append(pid)
    return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    for _ in polling(START_S, interval=0.2):
        if condition():
            return
    raise AssertionError(f"{what} has not come")


def ping(server: Server) -> httpx.Response:
    with server.new_client() as client:
        return client.get("/ping")


def statuses(server: Server, engine: RealRay, count: int) -> set[int]:
    with server.new_client() as client:
        return {ask(client, engine).status_code for _ in range(count)}


def test_metrics_are_those_of_all_replicas(cluster: Server, engine: RealRay) -> None:
    assert statuses(cluster, engine, 8) == {200}
    for _ in range(4):
        page = scrape(cluster.client)
        # Ray prefers replicas of the proxy's node, so that not all have requests.
        assert len(page.labels("python_info", "replica")) == 4
        counted = page.value(
            "sagemaker_requests_total", route="/invocations", status="200"
        )
        assert counted == 8
        deployments = page.labels("vllm:prompt_tokens_total", "deployment")
        assert deployments == {"SageMakerLLMServer:tiny"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_disconnect_aborts_request_in_the_engine(
    cluster: Server, engine: RealRay, stream: bool
) -> None:
    before = generated(cluster)
    sampling = {"n": CHOICES, "temperature": 1, "stream": stream}
    disconnect(cluster, {**engine.long_completion(), **sampling})
    wait_for(lambda: is_idle(cluster), "an idle engine")
    all_tokens = CHOICES * engine.long_completion()["max_tokens"]
    assert generated(cluster) - before < all_tokens


def generated(server: Server) -> float:
    return scrape(server.client).value("vllm:generation_tokens_total")


def is_idle(server: Server) -> bool:
    return scrape(server.client).value("vllm:num_requests_running") == 0


def disconnect(server: Server, body: dict[str, Any]) -> None:
    """Send a request, and disconnect while the engine generates."""
    with server.new_client() as client, contextlib.suppress(httpx.ReadTimeout):
        timeout = httpx.Timeout(10, read=0.2)
        client.post("/invocations", json=body, timeout=timeout)


@pytest.mark.parametrize("component", ["tiny", "part"])
def test_inference_component_is_a_name_of_a_model(
    cluster: Server, engine: RealRay, component: str
) -> None:
    body: dict[str, Any] = {**completion(engine), "model": ""}
    answer = cluster.client.post(
        "/invocations", json=body, headers={COMPONENT: component}
    )
    assert answer.json()["model"] == "tiny"


def test_unknown_model_is_a_404_that_lists_models(
    cluster: Server, engine: RealRay
) -> None:
    answer = ask(cluster.client, engine, model="nowhere")
    assert answer.status_code == 404
    assert "'nowhere' does not exist. There is: tiny." in answer.text


def test_killed_ingress_replica_is_replaced(cluster: Server, engine: RealRay) -> None:
    first, _ = processes(cluster, INGRESS_REPLICA)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(processes(cluster, INGRESS_REPLICA)) == 2, "a new ingress")
    wait_for(lambda: ping(cluster).status_code == 200, "/ping")
    assert statuses(cluster, engine, 4) == {200}


def test_ping_is_well_while_one_model_replica_answers(
    cluster: Server, engine: RealRay
) -> None:
    first, second = processes(cluster, MODEL_REPLICA)
    os.kill(first, signal.SIGKILL)
    assert ping(cluster).status_code == 200
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: ping(cluster).status_code == 503, "/ping without a model")
    assert "No replica answers of the model tiny" in ping(cluster).text
    wait_for(lambda: ping(cluster).status_code == 200, "a new model replica")
    assert statuses(cluster, engine, 4) == {200}


def test_hung_engine_is_replaced(cluster: Server, engine: RealRay) -> None:
    wait_for(lambda: len(processes(cluster, ENGINE)) == 2, "the second engine")
    wait_for(lambda: statuses(cluster, engine, 4) == {200}, "both replicas")
    hung, other = processes(cluster, ENGINE)
    os.kill(hung, signal.SIGSTOP)
    try:
        wait_for(lambda: hung not in processes(cluster, ENGINE), "its end")
    finally:
        if hung in processes(cluster, ENGINE):
            os.kill(hung, signal.SIGCONT)
    assert other in processes(cluster, ENGINE)
    assert statuses(cluster, engine, 4) == {200}


def test_texts_are_the_same_by_every_replica(cluster: Server, engine: RealRay) -> None:
    with cluster.new_client() as client:
        texts = {text_of(ask(client, engine)) for _ in range(12)}
    assert len(texts) == 1
