"""A real Ray Serve LLM of two nodes: replicas that end, that hang, and several models.

Each test needs what is left of the cluster by the one before: all replicas running.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from metrics_page import scrape
from model_hosting_container_standards.processes.tree import descendants
from promises.requests import ask, completion, text_of
from ray_server import ENV, PYTHON, RealRay, requires_ray, serve
from servers import Server, environment, polling

pytestmark = requires_ray

#: Parts of the titles of processes.
MODEL_REPLICA: Final = b"SageMakerLLMServer"
INGRESS_REPLICA: Final = b"SageMakerIngress"
ENGINE: Final = b"EngineCore"
#: On the metrics page: two of each kind, and the coordinator.
REPLICAS: Final = 5
#: Seconds for a replica to start while the machine is busy.
START_S: Final = 240
#: So many that a request takes much longer than its client waits.
CHOICES: Final = 64
#: A program that sets the number of replicas of each deployment.
SCALE: Final = """
import sys
import ray
from ray.serve.context import _get_global_client
from ray.serve._private.common import DeploymentID

ray.init(address="auto")
controller = _get_global_client()._controller
found = ray.get(controller.get_serve_instance_details.remote())["applications"]
for app, details in found.items():
    for name in details["deployments"]:
        update = controller.update_deployment_replicas
        ray.get(update.remote(DeploymentID(name=name, app_name=app), int(sys.argv[1])))
"""
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


def replicas(server: Server) -> Collection[str]:
    """Return the running replicas and the coordinator."""
    return scrape(server.client).labels("python_info", "replica")


def statuses(server: Server, engine: RealRay, count: int) -> set[int]:
    with server.new_client() as client:
        return {ask(client, engine).status_code for _ in range(count)}


def test_metrics_are_those_of_all_replicas(cluster: Server, engine: RealRay) -> None:
    assert statuses(cluster, engine, 8) == {200}
    for _ in range(4):
        page = scrape(cluster.client)
        # Ray prefers replicas of the proxy's node, so that not all have requests.
        assert len(replicas(cluster)) == REPLICAS
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
    timeout = httpx.Timeout(10, read=0.2)
    with (
        contextlib.suppress(httpx.ReadTimeout),
        server.new_client() as client,
        client.stream("POST", "/invocations", json=body, timeout=timeout) as answer,
    ):
        next(answer.iter_raw())


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
    assert "'nowhere' does not exist. Available: tiny." in answer.text


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
    assert "No replica answers for the model tiny" in ping(cluster).text
    wait_for(lambda: ping(cluster).status_code == 200, "a new model replica")
    assert statuses(cluster, engine, 4) == {200}


def test_hung_engine_is_replaced(cluster: Server, engine: RealRay) -> None:
    # Not by the processes or by requests: an engine that is starting has no check yet.
    wait_for(lambda: len(replicas(cluster)) == REPLICAS, "the second model replica")
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


def test_fewer_replicas_lose_no_request(cluster: Server, engine: RealRay) -> None:
    """Both kinds of replicas are scaled down while requests and streams run."""
    is_over = threading.Event()
    with ThreadPoolExecutor() as threads:
        found = [
            threads.submit(ask_until, is_over, cluster, engine, stream)
            for stream in (False, True) * 2
        ]
        try:
            scale(cluster, replicas=1)
            for title in (MODEL_REPLICA, INGRESS_REPLICA):
                wait_for(lambda: len(processes(cluster, title)) == 1, "the end of one")  # noqa: B023
        finally:
            is_over.set()
        assert set().union(*(each.result() for each in found)) == {200}


def ask_until(
    is_over: threading.Event, server: Server, engine: RealRay, stream: bool
) -> set[int]:
    """Send requests until ``is_over``, and return their statuses.

    Raises:
        httpx.HTTPError: a connection broke.
    """
    found: set[int] = set()
    body = {**engine.long_completion(), "stream": stream}
    with server.new_client() as client:
        while not is_over.is_set():
            answer = client.post("/invocations", json=body, timeout=START_S)
            assert answer.text.endswith("data: [DONE]\n\n") or not stream
            found.add(answer.status_code)
    return found


def scale(server: Server, replicas: int) -> None:
    """Have as many replicas of each kind."""
    command: list[str | Path] = [PYTHON, "-c", SCALE, str(replicas)]
    env = environment({**ENV, "RAY_TMPDIR": server.env["RAY_TMPDIR"]})
    subprocess.run(command, env=env, check=True)
