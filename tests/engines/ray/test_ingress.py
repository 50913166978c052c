"""An ingress replica: health, metrics, models and ids, over replicas of models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Counter, Metric

import ray_serving
from metrics_page import scrape

pytestmark = pytest.mark.usefixtures("ray_standin")

COMPONENT = "X-Amzn-SageMaker-Inference-Component"


class Replica:
    """A model replica whose answer to a health check the test sets."""

    def __init__(self, check: Callable[[], Any] | None = None) -> None:
        self._check = check
        self.checks = 0

    async def check_health(self) -> None:
        self.checks += 1
        if self._check is not None:
            await self._check()

    async def completions(self, body: Any, headers: Any) -> AsyncGenerator[Any, None]:
        async def outputs() -> AsyncGenerator[Any, None]:
            yield {"id": body.request_id, "header": headers["x-request-id"]}

        return outputs()

    async def read_metrics(self) -> list[Metric]:
        registry = CollectorRegistry()
        Counter("replicas_own", "One for each.", registry=registry).inc()
        return [*registry.collect()]


async def die() -> None:
    from ray.exceptions import ActorDiedError

    raise ActorDiedError


async def hang() -> None:
    await asyncio.Event().wait()


@contextmanager
def serving(**models: list[Replica]) -> Iterator[TestClient]:
    """Serve an ingress over models with these replicas."""
    from ray.serve.handle import DeploymentHandle

    handles = {
        name: DeploymentHandle(name, **{f"r{n}": r for n, r in enumerate(replicas)})
        for name, replicas in models.items()
    }
    components = {"part": next(iter(models))}
    with ray_serving.serving(components=components, **handles) as client:
        yield client


@pytest.fixture
def soon(ray_standin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give replicas less time to answer, and ask them each time."""
    import mhcs.ray.health

    monkeypatch.setattr(mhcs.ray.health, "ANSWER_S", 0.2)
    monkeypatch.setattr(mhcs.ray.health, "_FRESH_S", -1)


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_ping_is_well_if_a_replica_of_each_model_answers(path: str) -> None:
    with serving(
        first=[Replica(die), Replica(hang), Replica()], second=[Replica()]
    ) as c:
        assert c.get(path).status_code == 200


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("path", ["/ping", "/health"])
@pytest.mark.parametrize(
    "replicas", [[], [Replica(die)], [Replica(hang), Replica(die)]], ids=len
)
def test_model_without_an_answering_replica_is_named(
    path: str, replicas: list[Replica]
) -> None:
    with serving(first=[Replica()], second=replicas) as client:
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.json()["detail"] == "No replica answers for the model second."
        again = client.get(path)
        assert again.status_code == 503


@pytest.mark.usefixtures("soon")
def test_hanging_replica_is_asked_once() -> None:
    replica, other = Replica(hang), Replica()
    with serving(model=[replica], other=[other]) as client:
        for _ in range(3):
            assert client.get("/health").status_code == 503
    assert (replica.checks, other.checks) == (1, 3)


def test_results_count_for_a_while() -> None:
    replica = Replica()
    with serving(model=[replica]) as client:
        for path in ("/ping", "/health", "/ping"):
            assert client.get(path).status_code == 200
    assert replica.checks < 3


def test_metrics_of_each_replica_have_its_name() -> None:
    with serving(model=[Replica(), Replica(), Replica()]) as client:
        page = scrape(client)
    assert page.labels("replicas_own_total", "replica") == {"r0", "r1", "r2"}
    assert page.value("replicas_own_total", deployment="model") == 3


@pytest.mark.parametrize(
    ("model", "component", "answered_by"),
    [
        ("first", "second", "first"),
        ("", "second", "second"),
        (None, "second", "second"),
        ("", "part", "first"),
    ],
)
def test_component_counts_if_no_model_is_named(
    model: str | None, component: str, answered_by: str
) -> None:
    with serving(first=[Replica()], second=[Replica()]) as client:
        body = {"model": model, "prompt": "hello"}
        for path in ("/invocations", "/v1/completions"):
            answer = client.post(path, json=body, headers={COMPONENT: component})
            assert answer.json()["model"] == answered_by


def test_only_model_is_the_base_model() -> None:
    with serving(only=[Replica()]) as client:
        answer = client.post("/invocations", json={"model": "", "prompt": "hello"})
        assert answer.json()["model"] == "only"


def test_unknown_model_is_a_404_that_lists_models() -> None:
    with serving(first=[Replica()], second=[Replica()]) as client:
        body = {"model": "third", "prompt": "hello"}
        answer = client.post("/invocations", json=body)
        assert answer.status_code == 404
        expected = "The model 'third' does not exist. Available: first, second."
        assert answer.json()["detail"] == expected
        del body["model"]
        assert client.post("/invocations", json=body).status_code == 400


def test_engine_gets_the_requests_id() -> None:
    with serving(model=[Replica()]) as client:
        headers = {"X-Amzn-SageMaker-Inference-Id": "the-platforms"}
        body = {"prompt": "hello"}
        answer = client.post("/invocations", json=body, headers=headers)
    assert answer.json() == {
        "model": "model",
        "id": "the-platforms",
        "header": "the-platforms",
    }


def test_customers_handler_can_call_the_ingress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """
from fastapi import Request
from ray.serve.llm.ingress import CompletionRequest
from model_hosting_container_standards import sagemaker

@sagemaker.invoke
async def invoke(request: Request):
    body = CompletionRequest(prompt=(await request.body()).decode())
    return await request.app.state.ingress.completions(body, request)
"""
    (tmp_path / "model.py").write_text(script)
    monkeypatch.setenv("SAGEMAKER_MODEL_PATH", str(tmp_path))
    with serving(only=[Replica()]) as client:
        answer = client.post("/invocations", content="hello")
    assert answer.json()["model"] == "only"


def test_replicas_are_unknown_until_the_controller_answers() -> None:
    from ray.serve.handle import DeploymentHandle

    from mhcs.ray.replicas import call_each, running_replicas

    handle = DeploymentHandle("model", r0=Replica())
    handle.knows_how_to_route = False
    assert running_replicas(handle) == {}
    assert asyncio.run(call_each([handle], "read_metrics", seconds=1)) == {}


@pytest.mark.parametrize("check", [die, hang])
def test_call_leaves_out_replicas_without_a_result(check: Callable[[], Any]) -> None:
    from ray.serve.handle import DeploymentHandle

    from mhcs.ray.replicas import call_each

    handle = DeploymentHandle("model", r0=Replica(check), r1=Replica())
    results = asyncio.run(call_each([handle], "check_health", seconds=0.2))
    assert [replica.unique_id for replica in results] == ["r1"]


def test_error_that_is_not_rays_is_raised() -> None:
    from ray.serve.handle import DeploymentHandle

    from mhcs.ray.replicas import call_each

    handle = DeploymentHandle("model", r0=Replica())
    with pytest.raises(Exception, match="pickle"):
        asyncio.run(call_each([handle], "check_health", lambda: 0, seconds=1))
