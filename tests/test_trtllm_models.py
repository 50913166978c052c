"""Which model answers a request to TensorRT-LLM: by header, by body, by neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from adapter_engine import write_adapter
from decorated import ADAPTER
from trtllm import MODEL, RELEASES, WITH_LORA, TrtllmServer, trtllm

BY_AUTO: Final = {"MHCS_AUTO": "1"}
COMPLETIONS: Final = "/v1/completions"
BODIES: Final[dict[str, dict[str, Any]]] = {
    COMPLETIONS: {"prompt": "hello"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
}


@pytest.fixture(scope="module", params=RELEASES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrtllmServer]:
    """A server, with the adapter ``felix`` where the release has adapters."""
    has_lora = request.param in WITH_LORA
    with trtllm(request.param, lora=has_lora, env=BY_AUTO) as server:
        if has_lora:
            src = write_adapter(tmp_path_factory.mktemp("adapters") / "cats", "cats")
            body = {"name": "felix", "src": src}
            server.client.post("/adapters", json=body).raise_for_status()
        yield server


def ask(
    server: TrtllmServer, path: str, model: dict[str, Any], adapter: str = ""
) -> tuple[int, str]:
    """Return the status, and what the model has said or what was wrong."""
    body = {**BODIES.get(path, BODIES[COMPLETIONS]), **model}
    answer = server.client.post(path, json=body, headers={ADAPTER: adapter})
    if answer.status_code != 200:
        return answer.status_code, answer.text
    choice = answer.json()["choices"][0]
    said: str = choice["text"] if "text" in choice else choice["message"]["content"]
    return answer.status_code, said


def has_adapters(server: TrtllmServer) -> bool:
    return server.client.get("/adapters").status_code == 200


@pytest.mark.parametrize("path", [*BODIES, "/invocations"])
@pytest.mark.parametrize("model", [{}, {"model": ""}, {"model": None}])
def test_a_body_without_a_model_is_the_base_models(
    server: TrtllmServer, path: str, model: dict[str, Any]
) -> None:
    status, said = ask(server, path, model)
    assert (status, said.startswith("base")) == (200, True), said


@pytest.mark.parametrize("path", [*BODIES, "/invocations"])
@pytest.mark.parametrize(
    "model", [{}, {"model": ""}, {"model": None}, {"model": MODEL}]
)
def test_the_header_chooses_the_adapter_on_every_route(
    server: TrtllmServer, path: str, model: dict[str, Any]
) -> None:
    status, said = ask(server, path, model, "felix")
    if has_adapters(server):
        assert (status, said.startswith("cats")) == (200, True), said
    else:
        assert status == 400
        assert "takes no adapters" in said


@pytest.mark.parametrize("path", [*BODIES, "/invocations"])
def test_an_unknown_name_is_a_404_in_the_header_alone(
    server: TrtllmServer, path: str
) -> None:
    """The engine does not look at the body's."""
    assert ask(server, path, {"model": "nobody"})[0] == 200
    status, said = ask(server, path, {"model": "felix"}, "nobody")
    if has_adapters(server):
        assert status == 404
        assert "felix" in said
    else:
        assert status == 400


def test_a_request_without_a_name_reaches_the_engine_otherwise_as_it_is(
    server: TrtllmServer, tmp_path: Path
) -> None:
    for content in (b"", b"{", b"[]", b"\xff", b'{"model": null, "prompt": 5}'):
        headers = {"content-type": "application/json"}
        answer = server.client.post(COMPLETIONS, content=content, headers=headers)
        assert answer.status_code == 400, answer.text
