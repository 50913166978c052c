"""Request ids and metrics."""

from __future__ import annotations

import json

from metrics_page import scrape
from servers import Server

from .engines import EngineUnderTest
from .requests import completion, text_of

REQUESTS = "sagemaker_requests_total"


def test_inference_id_becomes_request_id(
    server: Server, engine: EngineUnderTest
) -> None:
    headers = {"X-Amzn-SageMaker-Inference-Id": "the-platforms-id"}
    for path in ("/invocations", "/v1/completions"):
        answer = server.client.post(path, json=completion(engine), headers=headers)
        assert text_of(answer)
        assert answer.headers.get_list("X-Request-Id") == ["the-platforms-id"]


def test_requests_without_id_get_unique_ids(server: Server) -> None:
    ids = {server.client.get("/ping").headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


def test_requests_are_counted(server: Server, engine: EngineUnderTest) -> None:
    labels = {"method": "POST", "status": "200"}
    routes = ("/invocations", "/v1/completions")
    before = scrape(server.client)
    for route in routes:
        server.client.post(route, json=completion(engine))
    after = scrape(server.client)
    for route in routes:
        counts = [
            page.value(REQUESTS, route=route, **labels) for page in (before, after)
        ]
        assert counts[1] == counts[0] + 1
        seconds = "sagemaker_request_duration_seconds_sum"
        assert after.value(seconds, route=route) > before.value(seconds, route=route)


def test_engines_own_metrics_stay_available(
    server: Server, engine: EngineUnderTest
) -> None:
    """On our page, or on ``/metrics/json`` if the engine has JSON statistics."""
    server.client.post("/invocations", json=completion(engine))
    statistics = server.client.get("/metrics/json")
    is_json = statistics.headers["content-type"].startswith("application/json")
    if statistics.status_code == 200 and is_json:
        assert isinstance(json.loads(statistics.text), list)
    else:
        names = {family.name for family in scrape(server.client).families}
        assert any(name.startswith(("sglang:", "vllm:")) for name in names)
