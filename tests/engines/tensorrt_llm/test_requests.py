"""Adapters in requests to TensorRT-LLM's own routes."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapter_engine import BROKEN, write_adapter
from trtllm import (
    LORA,
    MODEL,
    RELEASES,
    SEVERAL_FRONTENDS,
    WITH_LORA,
    TrtllmServer,
    lora_request,
    trtllm,
)

BY_AUTO: Final = {"MHCS_AUTO": "1"}
ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"
ADAPTER: Final = "X-Amzn-SageMaker-Adapter-Identifier"
CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
CURLS_OWN: Final = "application/x-www-form-urlencoded"
HELLO: Final = {"role": "user", "content": "hello"}
#: The fields that each route requires in addition to the model.
BODIES: Final[Mapping[str, dict[str, Any]]] = {
    COMPLETIONS: {"prompt": "hello"},
    CHAT: {"messages": [HELLO]},
    "/v1/messages": {"messages": [HELLO], "max_tokens": 5},
    "/v1/responses": {"input": "hello"},
}
JSON_TYPE: Final = {"content-type": "application/json"}


@pytest.fixture(scope="module", params=WITH_LORA)
def server(request: pytest.FixtureRequest) -> Iterator[TrtllmServer]:
    # The worker reads evicted adapters again: the worst case of all releases.
    env = {**BY_AUTO, "TRTLLM_STANDIN_REREADS": "1"}
    with trtllm(request.param, lora=True, env=env) as server:
        yield server


@pytest.fixture
def cats(tmp_path: Path) -> str:
    return write_adapter(tmp_path / "cats", "cats")


@pytest.fixture
def registered(server: TrtllmServer, cats: str) -> Iterator[str]:
    """The name of a registered adapter."""
    body = {"name": "felix", "src": cats}
    server.client.post("/adapters", json=body).raise_for_status()
    yield "felix"
    server.client.delete("/adapters/felix")


def completion(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": "hello", **fields}


def error_of(answer: httpx.Response) -> str:
    """Return the message of an error, which must have the engine's format."""
    error = answer.json()
    assert error.keys() == {"object", "message", "type", "param", "code"}
    assert (error["object"], error["code"]) == ("error", answer.status_code)
    message: str = error["message"]
    return message


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["choices"][0]["text"]
    return found


@pytest.mark.parametrize("path", ["/invocations", COMPLETIONS])
@pytest.mark.parametrize("has_others", [False, True])
def test_client_cannot_pass_adapter_path(
    server: TrtllmServer,
    cats: str,
    path: str,
    has_others: bool,
    request: pytest.FixtureRequest,
) -> None:
    if has_others:
        request.getfixturevalue("registered")
    body = completion(lora_request=lora_request("mine", 1, cats))
    plain = json.dumps(body)
    contents = {
        "plain": plain.encode(),
        "escaped": plain.replace("lora_request", "lora\\u005frequest").encode(),
        "UTF-16": plain.encode("utf-16"),
    }
    loads = server.facts()["worker"]["loads"]
    for written, content in contents.items():
        answer = server.client.post(path, content=content, headers=JSON_TYPE)
        assert answer.status_code == 400, written
        assert "register the adapter by POST /adapters" in error_of(answer)
    assert server.facts()["worker"]["loads"] == loads


@pytest.mark.parametrize("content_type", [None, "text/plain", CURLS_OWN])
def test_json_with_another_content_type_is_answered(
    server: TrtllmServer, registered: str, content_type: str | None
) -> None:
    content = json.dumps(completion()).encode()
    for headers, expected in (
        ({}, "base: hello"),
        ({ADAPTER: registered}, "cats: hello"),
    ):
        if content_type is not None:
            headers["content-type"] = content_type
        answer = server.client.post("/invocations", content=content, headers=headers)
        assert text(answer) == expected


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (COMPLETIONS, {"n": 2}, 400),
        (COMPLETIONS, {"prompt": []}, 400),
        (COMPLETIONS, {"suffix": "!"}, 400),
        (COMPLETIONS, {"stream_options": {}}, 200),
        (COMPLETIONS, {"stream_options": {"include_usage": True}}, 400),
        (COMPLETIONS, {"echo": True, "top_k": 3, "min_p": 0.1}, 200),
        (COMPLETIONS, {"prompt": ["hello", "again"]}, 200),
        (CHAT, {"n": 2}, 400),
        (CHAT, {"tool_choice": "auto"}, 400),
        (CHAT, {"tools": [{"type": "function"}], "tool_choice": "auto"}, 200),
        (CHAT, {"stream": True, "stream_options": {"include_usage": True}}, 200),
        (COMPLETIONS, {"stream": True, "stream_options": {}}, 200),
    ],
)
def test_invocations_matches_engines_route(
    server: TrtllmServer, path: str, fields: dict[str, Any], status: int
) -> None:
    body = {**BODIES[path], "model": MODEL, **fields}
    theirs, ours = (server.client.post(p, json=body) for p in (path, "/invocations"))
    assert (theirs.status_code, ours.status_code) == (status, status), theirs.text
    texts = {re.sub(r"cmpl-\d+", "cmpl-", answer.text) for answer in (theirs, ours)}
    assert len(texts) == 1


def test_response_has_requested_model_name(
    server: TrtllmServer, registered: str
) -> None:
    answer = server.client.post("/invocations", json=completion(model=registered))
    assert answer.json()["model"] == registered
    headers = {ADAPTER: registered}
    answer = server.client.post("/invocations", json=completion(), headers=headers)
    assert answer.json()["model"] == registered


def test_null_adapter_is_ignored(server: TrtllmServer) -> None:
    answer = server.client.post(COMPLETIONS, json=completion(lora_request=None))
    assert text(answer) == "base: hello"


def test_clients_adapter_fields_are_overridden(
    server: TrtllmServer, registered: str, tmp_path: Path
) -> None:
    dogs = write_adapter(tmp_path / "dogs", "dogs")
    body = completion(model=registered, lora_request=lora_request("mine", 1, dogs))
    assert text(server.client.post(COMPLETIONS, json=body)) == "cats: hello"
    headers = {ADAPTER: registered}
    answer = server.client.post("/invocations", json=body, headers=headers)
    assert text(answer) == "cats: hello"


@pytest.mark.parametrize("path", ["/invocations", COMPLETIONS, CHAT, "/v1/responses"])
@pytest.mark.parametrize("fields", [{}, {"stream": "perhaps"}], ids=["right", "wrong"])
def test_errors_do_not_reveal_existing_paths(
    server: TrtllmServer, cats: str, path: str, fields: dict[str, Any]
) -> None:
    if path not in server.facts()["routes"]:
        pytest.skip(f"the release has no {path}")
    body = {**BODIES.get(path, BODIES[COMPLETIONS]), "model": MODEL, **fields}
    # Of equal length: the engine may repeat the client's request in an error.
    there, missing, file = (f"{cats[:-1]}{letter}" for letter in "szf")
    Path(file).touch()
    answers = {
        (answer.status_code, answer.text.replace(one, "PATH"))
        for one in (there, missing, file)
        for lora in [lora_request("mine", 1, one)]
        for answer in [server.client.post(path, json={**body, "lora_request": lora})]
    }
    [(status, message)] = answers
    assert status == 400
    known = path != "/v1/responses" and not fields
    assert not known or "register the adapter by POST /adapters" in message


@pytest.mark.parametrize(
    "path", ["", "relative", "a\0b", "/", "/no/such/" + "x" * 5000]
)
def test_no_path_is_another_error(server: TrtllmServer, path: str) -> None:
    body = completion(lora_request=lora_request("mine", 1, path))
    answer = server.client.post(COMPLETIONS, json=body)
    assert answer.status_code == 400
    assert "register the adapter by POST /adapters" in error_of(answer)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_adapters_work_on_routes_without_adapter_field(
    server: TrtllmServer, registered: str, path: str
) -> None:
    if path not in server.facts()["routes"]:
        pytest.skip(f"the release has no {path}")
    body = {**BODIES[path], "model": registered}
    for ours in (path, "/invocations"):
        headers = {ATTRIBUTES: f"route={path}"}
        answer = server.client.post(ours, json=body, headers=headers)
        if "harmony" in answer.text:
            pytest.skip("the release needs gpt-oss for it")
        assert answer.status_code == 200, answer.text
        assert "cats: hello" in answer.text
        base = server.client.post(ours, json={**body, "model": MODEL}, headers=headers)
        assert "base: hello" in base.text


def test_streamed_response_uses_adapter(server: TrtllmServer, registered: str) -> None:
    body = {**BODIES["/v1/responses"], "model": registered, "stream": True}
    answer = server.client.post("/v1/responses", json=body)
    if answer.status_code != 200:
        pytest.skip("the release has none")
    assert "cats: hello" in answer.text


def test_each_request_of_a_batch_has_its_own_adapter(
    server: TrtllmServer, registered: str
) -> None:
    batches = "/v1/messages/batches"
    if batches not in server.facts()["routes"]:
        pytest.skip("the release has no batches")
    names = (registered, MODEL, registered)
    body = {"requests": [{**BODIES["/v1/messages"], "model": name} for name in names]}
    key = server.client.post(batches, json=body).json()["id"]
    results = server.client.get(f"{batches}/{key}/results").json()
    texts = [one["choices"][0]["message"]["content"] for one in results]
    assert texts == ["cats: hello", "base: hello", "cats: hello"]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/_internal/tokenize", {"prompt": "hello"}),
        ("/v1/messages/count_tokens", {"messages": [HELLO]}),
    ],
)
def test_other_routes_need_no_adapter(
    server: TrtllmServer, cats: str, path: str, fields: dict[str, Any]
) -> None:
    if path not in server.facts()["routes"]:
        pytest.skip(f"the release has no {path}")
    body = {"name": "lazy", "src": cats, "preload": False}
    server.client.post("/adapters", json=body).raise_for_status()
    answers = [
        server.client.post(path, json={**fields, "model": name})
        for name in (MODEL, "lazy")
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert server.client.get("/adapters/lazy").json()["status"] == "registered"
    server.client.delete("/adapters/lazy").raise_for_status()


@pytest.mark.parametrize(
    "fields",
    [{}, {"stream": True}, {"input": 5}, {"input": None}, {"stream": []}],
    ids=["whole", "stream", "wrong input", "no input", "wrong stream"],
)
def test_invocations_matches_responses_route(
    server: TrtllmServer, fields: dict[str, Any]
) -> None:
    if "/v1/responses" not in server.facts()["routes"]:
        pytest.skip("the release has no /v1/responses")
    body = {"model": MODEL, "input": "hello", **fields}
    expected, answer = (
        server.client.post(path, json=body)
        for path in ("/v1/responses", "/invocations")
    )
    assert answer.status_code == expected.status_code
    assert answer.headers["content-type"] == expected.headers["content-type"]
    assert _without_id(answer.text) == _without_id(expected.text)


def _without_id(text: str) -> str:
    return re.sub(r"resp_\d+", "resp_", text)


def test_model_that_is_not_an_adapter_is_passed_on(
    server: TrtllmServer, registered: str
) -> None:
    answer = server.client.post(COMPLETIONS, json=completion(model="anything"))
    assert text(answer) == "base: hello"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b'{"model": 5}', b'{"model": ["felix"]}']
)
def test_engine_reports_errors_of_body(
    server: TrtllmServer, registered: str, content: bytes
) -> None:
    answer = server.client.post(COMPLETIONS, content=content, headers=JSON_TYPE)
    assert answer.status_code == 400, answer.text
    assert "lora" not in answer.text


def test_adapter_without_files_is_an_error(
    server: TrtllmServer, registered: str, cats: str
) -> None:
    for file in Path(cats).iterdir():
        file.rename(file.with_suffix(".gone"))
    Path(cats).rename(f"{cats}-gone")
    answer = server.client.post(COMPLETIONS, json=completion(model=registered))
    assert answer.status_code == 404
    assert f"The files of adapter 'felix' are missing in {cats}" in error_of(answer)


def test_adapter_ids_are_never_reused(server: TrtllmServer, tmp_path: Path) -> None:
    for text_ in ("one", "two", "three"):
        src = write_adapter(tmp_path / "same", text_)
        body = {"name": "same", "src": src}
        server.client.post("/adapters", json=body).raise_for_status()
        answer = server.client.post(COMPLETIONS, json=completion(model="same"))
        assert text(answer) == f"{text_}: hello"
        server.client.delete("/adapters/same").raise_for_status()
    numbers = [number for number, _ in server.facts()["worker"]["loads"]]
    assert len(numbers) == len({*numbers})


def test_more_adapters_than_cached_answer_in_turn(
    server: TrtllmServer, tmp_path: Path
) -> None:
    names = [f"adapter-{n}" for n in range(LORA["lora_config"]["max_cpu_loras"] + 2)]
    for name in names:
        body = {"name": name, "src": write_adapter(tmp_path / name, name)}
        server.client.post("/adapters", json=body).raise_for_status()
    for _ in range(2):
        for name in names:
            answer = server.client.post(COMPLETIONS, json=completion(model=name))
            assert text(answer) == f"{name}: hello"
    for name in names:
        server.client.delete(f"/adapters/{name}").raise_for_status()


# --- what the engine cannot load ---------------------------------------------------


@pytest.mark.parametrize("preload", [True, False])
def test_too_high_rank_never_reaches_engine(
    server: TrtllmServer, tmp_path: Path, preload: bool
) -> None:
    src = write_adapter(tmp_path / "high", "high", r=65)
    body = {"name": "high", "src": src, "preload": preload}
    answer = server.client.post("/adapters", json=body)
    assert answer.status_code == 400
    assert "takes ranks up to 64" in answer.text
    assert src not in [path for _, path in server.facts()["worker"]["loads"]]


@pytest.mark.parametrize("release", WITH_LORA)
def test_adapter_rejected_by_engine_is_not_registered(
    release: str, tmp_path: Path
) -> None:
    env = {**BY_AUTO, "TRTLLM_STANDIN_BAD_ADAPTER": "fails"}
    with trtllm(release, lora=True, env=env) as server:
        src = write_adapter(tmp_path / "bad", BROKEN)
        answer = server.client.post("/adapters", json={"name": "bad", "src": src})
        assert answer.status_code == 400
        assert BROKEN in answer.text
        assert server.client.get("/adapters").json()["adapters"] == []
        lazily = {"name": "bad", "src": src, "preload": False}
        assert server.client.post("/adapters", json=lazily).status_code == 200
        stream = completion(model="bad", stream=True)
        answer = server.client.post(COMPLETIONS, json=stream)
        assert answer.status_code == 400
        assert BROKEN in error_of(answer)
        assert server.client.get("/adapters/bad").json()["status"] == "failed"
        again = server.client.post(COMPLETIONS, json=stream)
        assert (again.status_code, error_of(again)[:7]) == (404, "Adapter")


@pytest.mark.parametrize("release", RELEASES[-2:])
def test_registration_without_engine_is_a_503(release: str, tmp_path: Path) -> None:
    src = write_adapter(tmp_path / "cats", "cats")
    with trtllm(release, lora=True, env=BY_AUTO) as server:
        os.kill(server.facts()["worker"]["pid"], signal.SIGKILL)
        answer = server.client.post("/adapters", json={"name": "cats", "src": src})
        assert answer.status_code == 503, answer.text


# --- several front ends ------------------------------------------------------------


def test_two_front_ends_load_adapter_once(tmp_path: Path) -> None:
    src = write_adapter(tmp_path / "cats", "cats")
    with trtllm(SEVERAL_FRONTENDS, lora=True, env=BY_AUTO, frontends=2) as server:

        def once(_: int) -> str:
            with httpx.Client(base_url=server.url, trust_env=False) as client:
                body = {"name": "cats", "src": src}
                client.post("/adapters", json=body).raise_for_status()
                return text(client.post(COMPLETIONS, json=completion(model="cats")))

        with ThreadPoolExecutor(8) as threads:
            assert {*threads.map(once, range(24))} == {"cats: hello"}
        assert len(server.facts()["worker"]["loads"]) == 1


# --- customers' handlers -----------------------------------------------------------

SCRIPT: Final = """
from fastapi import Request
from tensorrt_llm.serve.openai_protocol import CompletionRequest

from model_hosting_container_standards import sagemaker


@sagemaker.invoke
@sagemaker.inject_adapter_id("model")
async def invoke(request: CompletionRequest, raw_request: Request):
    server = raw_request.app.state.openai_server
    return await server.openai_completion(request, raw_request)
"""


@pytest.mark.parametrize("release", [WITH_LORA[0], WITH_LORA[-1]])
def test_customers_handler_can_use_adapters(
    release: str, model_folder: Path, tmp_path: Path, cats: str
) -> None:
    (model_folder / "model.py").write_text(SCRIPT)
    dogs = write_adapter(tmp_path / "dogs", "dogs")
    env = {"SAGEMAKER_MODEL_PATH": str(model_folder)}
    with trtllm(release, lora=True, env=env) as server:
        client = server.client
        body = {"name": "felix", "src": cats}
        client.post("/adapters", json=body).raise_for_status()
        by_model = client.post("/invocations", json=completion(model="felix"))
        assert text(by_model) == "cats: hello"
        headers = {ADAPTER: "felix"}
        by_header = client.post("/invocations", json=completion(), headers=headers)
        assert text(by_header) == "cats: hello"
        for path in (dogs, "/no/such"):
            mine = completion(lora_request=lora_request("mine", 1, path))
            refused = client.post("/invocations", json=mine)
            assert refused.status_code == 400
            assert "register the adapter by POST /adapters" in error_of(refused)


HANDLERS: Final = """
from fastapi import Request

from model_hosting_container_standards import sagemaker


@sagemaker.register_load_adapter_handler({"name": "body.name"})
async def load(raw_request: Request):
    pass
"""


def test_adapters_of_handlers_never_reach_engine(model_folder: Path) -> None:
    (model_folder / "model.py").write_text(HANDLERS)
    env = {"SAGEMAKER_MODEL_PATH": str(model_folder)}
    with trtllm(WITH_LORA[-1], lora=True, env=env) as server:
        body = {"name": "felix", "src": "s3://bucket/cats"}
        server.client.post("/adapters", json=body).raise_for_status()
        for fields, headers in (({"model": "felix"}, {}), ({}, {ADAPTER: "felix"})):
            answer = server.client.post(
                "/invocations", json=completion(**fields), headers=headers
            )
            assert answer.status_code == 400
            assert "loaded by a handler" in error_of(answer)
