"""The contract's example for vLLM runs unchanged with each of its five commands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from real import COMPLETION, complete, requires_vllm, serve
from servers import Server

pytestmark = requires_vllm

SCRIPT = Path(__file__).parents[3] / "examples" / "vllm_completion" / "model.py"
OPENAI_SERVER_HEALTH = "vllm.entrypoints.openai.api_server:health"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(SCRIPT, folder / "model.py")
    return folder


def start(folder: Path, *arguments: str, **env: str) -> Server:
    return serve(*arguments, env={"SAGEMAKER_MODEL_PATH": str(folder), **env})


def check_script_answers(server: Server) -> None:
    ours = server.client.post("/invocations", json=COMPLETION)
    assert ours.headers["x-script"] == "model.py"
    assert complete(server, "/invocations") == complete(server, "/v1/completions")


def test_script_in_model_folder_is_used(folder: Path) -> None:
    with start(folder, "--dtype", "auto") as server:
        assert server.client.get("/ping").status_code == 201
        check_script_answers(server)
        with server.client.stream(
            "POST", "/invocations", json={**COMPLETION, "stream": True}
        ) as answer:
            assert list(answer.iter_lines())[-2] == "data: [DONE]"
        wrong = server.client.post("/invocations", json={**COMPLETION, "prompt": {}})
        assert wrong.status_code == 400
        unknown = server.client.post("/invocations", json={**COMPLETION, "model": "x"})
        assert unknown.status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["model.py:myping", "{folder}/model.py:myping"])
def test_ping_handler_can_be_given_by_file(folder: Path, spec: str) -> None:
    spec = spec.format(folder=folder)
    with start(folder, CUSTOM_FASTAPI_PING_HANDLER=spec) as server:
        assert server.client.get("/ping").status_code == 201
        check_script_answers(server)
        assert f"CUSTOM_FASTAPI_PING_HANDLER={spec}" in server.output()


@pytest.fixture(scope="module")
def debugged(folder: Path) -> Iterator[Server]:
    """Two of the commands in one: a ping handler by a moved name, and a log level."""
    env = {
        "CUSTOM_FASTAPI_PING_HANDLER": OPENAI_SERVER_HEALTH,
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "DEBUG",
    }
    with start(folder, **env) as server:
        yield server


def test_ping_handler_can_be_given_by_moved_name(debugged: Server) -> None:
    assert debugged.client.get("/ping").status_code == 200
    assert debugged.client.head("/ping").status_code == 200
    check_script_answers(debugged)


def test_debug_level_affects_only_this_package(debugged: Server) -> None:
    check_script_answers(debugged)
    output = debugged.output()
    assert "/invocations is answered by" in output
    lines = [line for line in output.splitlines() if "DEBUG" in line]
    assert all("model_hosting_container_standards" in line for line in lines)
