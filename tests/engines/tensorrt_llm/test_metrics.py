"""TensorRT-LLM's own metrics are on our page, wherever the engine keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest

from adapter_engine import write_adapter
from metrics_page import scrape
from trtllm import RELEASES, SEVERAL_FRONTENDS, WITH_LORA, environment_of, trtllm

BY_AUTO: Final = {"MHCS_AUTO": "1"}
METRICS: Final = {"return_perf_metrics": True}
COMPLETIONS: Final = "/v1/completions"
COUNT: Final = "trtllm_request_success_total"


def completion(**fields: Any) -> dict[str, Any]:
    return {"model": "standin", "prompt": "hello", **fields}


@pytest.mark.parametrize("release", WITH_LORA)
def test_engines_request_metrics_are_on_our_page(release: str, tmp_path: Path) -> None:
    with trtllm(release, lora=True, options=METRICS, env=BY_AUTO) as server:
        client = server.client
        body = {"name": "felix", "src": write_adapter(tmp_path / "cats", "cats")}
        client.post("/adapters", json=body).raise_for_status()
        for path in ("/invocations", COMPLETIONS, "/invocations"):
            answer = client.post(path, json=completion(model="felix"))
            assert "cats: hello" in answer.text
            assert client.get("/ping").status_code == 200
        for page in ("/metrics", "/prometheus/metrics"):
            assert "trtllm_request_success_total 3.0" in client.get(page).text
        if "/perf_metrics" in server.facts()["routes"]:
            assert len(client.get("/perf_metrics").json()) == 3


@pytest.mark.parametrize("release", [RELEASES[0], WITH_LORA[0], WITH_LORA[-1]])
def test_page_has_ours_alone_where_engine_keeps_none(release: str) -> None:
    with trtllm(release, env=BY_AUTO) as server:
        client = server.client
        client.post("/invocations", json=completion()).raise_for_status()
        assert client.get("/prometheus/metrics").status_code == 404
        page = scrape(client)
        assert page.value("sagemaker_requests_total", route="/invocations") == 1
        assert not any(family.name.startswith("trtllm") for family in page.families)
        assert len(client.get("/metrics/json").json()) == 1


def test_page_has_metrics_that_engine_keeps_in_memory(tmp_path: Path) -> None:
    """As when other code has imported prometheus_client before the engine."""
    (tmp_path / "sitecustomize.py").write_text("import prometheus_client")
    release = WITH_LORA[-1]
    path = environment_of(release)["PYTHONPATH"]
    env = {**BY_AUTO, "PYTHONPATH": os.pathsep.join([str(tmp_path), path])}
    with trtllm(release, options=METRICS, env=env) as server:
        client = server.client
        client.post("/invocations", json=completion()).raise_for_status()
        page = scrape(client)
        assert page.value(COUNT) == 1
        assert page.value("sagemaker_requests_total", route="/invocations") == 1


def test_page_has_sums_of_several_front_ends(tmp_path: Path) -> None:
    env = {**BY_AUTO, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with trtllm(SEVERAL_FRONTENDS, options=METRICS, env=env, frontends=2) as server:
        pids = set()
        for _ in range(20):
            with server.new_client() as client:
                client.post("/invocations", json=completion()).raise_for_status()
                pids.add(client.get("/standin").json()["pid"])
        assert len(pids) == 2
        for _ in range(4):
            with server.new_client() as client:
                page = scrape(client)
            assert page.value(COUNT) == 20
            route = {"route": "/invocations"}
            assert page.value("sagemaker_requests_total", **route) == 20


def test_statistics_come_from_the_launcher() -> None:
    """Other front ends forward them, by the path of the request."""
    with trtllm(SEVERAL_FRONTENDS, env=BY_AUTO, frontends=2) as server:
        roles = set()
        for _ in range(20):
            with server.new_client() as client:
                answer = client.get("/metrics/json")
                assert answer.headers["content-type"] == "application/json"
                assert isinstance(answer.json(), list)
                roles.add(client.get("/standin").json()["role"])
        assert roles == {"launcher", "attached"}
