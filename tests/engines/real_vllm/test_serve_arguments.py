"""``mhcs serve``: arguments that the real vLLM of this environment accepts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mhcs.serve import parser_process
from real import (
    ENV,
    PATCHED,
    QUICK,
    RELEASE,
    START_TIMEOUT_S,
    STARTUP,
    VLLM,
    requires_vllm,
    tiny_model,
)
from serve_plans import checked_plan, plan, problem_of
from servers import Exit, Server, run_until_exit
from supervised import MHCS, SUPERVISOR

pytestmark = [*requires_vllm, pytest.mark.usefixtures("temporary_folder")]

LORA: Final = '{"name": "a", "path": "/a"}'
HERE: Final = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def quick_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process of vLLM's parser start as the servers do, and as slowly."""
    monkeypatch.setattr(parser_process, "_LIMIT_S", START_TIMEOUT_S)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)


def test_lists_are_written_as_each_option_requires() -> None:
    made = plan(
        SM_VLLM_ALLOWED_ORIGINS='["*"]',
        SM_VLLM_LORA_MODULES=f"[{LORA}, {LORA}]",
        SM_VLLM_MIDDLEWARE='["a.B", "c.D"]',
        SM_VLLM_SERVED_MODEL_NAME='["x", "y"]',
    )
    assert (made.problems, made.is_checked) == ([], True)
    assert list(made.command[7:]) == [
        *("--allowed-origins", '["*"]'),
        *("--lora-modules", LORA, LORA),
        *("--middleware", "a.B", "--middleware", "c.D"),
        *("--served-model-name", "x", "y"),
    ]


def test_options_found_in_sources_are_not_checked_by_parser() -> None:
    """Otherwise every start would wait for the parser."""
    names = ("MAX_MODEL_LEN", "DTYPE", "GPU_MEMORY_UTILIZATION", "ENABLE_LORA", "PORT")
    values = {f"SM_VLLM_{name}": "1" for name in (*names, "NO_ENABLE_PREFIX_CACHING")}
    assert not plan(**values).is_checked


@pytest.mark.slow
def test_parser_errors_name_the_variable() -> None:
    made = plan(
        SM_VLLM_MAX_MODEL_LENN="4",
        SM_VLLM_QUANTIZATION="",
        SM_VLLM_MAX_NUM_SEQS='"4"',
    )
    expected = [
        "SM_VLLM_MAX_MODEL_LENN is set, but vllm has no option --max-model-lenn: did "
        "you mean SM_VLLM_MAX_MODEL_LEN?",
        "SM_VLLM_MAX_NUM_SEQS='\"4\"' is not allowed: ",
        "SM_VLLM_QUANTIZATION is empty: ",
    ]
    for problem, beginning in zip(made.problems, expected, strict=True):
        assert problem.startswith(beginning)
    tools = checked_plan(SM_VLLM_ENABLE_AUTO_TOOL_CHOICE="true")
    assert "--tool-call-parser" in problem_of(tools)


def refused(*command: str, **env: str) -> Exit:
    """Run a container whose engine refuses its arguments, and return its exit."""
    end = run_until_exit(command, {**ENV, **PATCHED, **env}, timeout=START_TIMEOUT_S)
    assert end.status == 2, end.stderr
    assert end.stderr.count("error: ") == 1, end.stderr
    return end


@pytest.mark.slow
def test_arguments_refused_by_parser_are_not_retried() -> None:
    refused(SUPERVISOR, VLLM, "serve", "no/model", "--no-such-option")
    end = refused(MHCS, "serve", SM_VLLM_MODEL="no/model", SM_VLLM_MAX_MODEL_LEN="x")
    last = end.stderr.splitlines()[-1]
    assert last.startswith("mhcs serve: SM_VLLM_MAX_MODEL_LEN='x' is not allowed: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variable",
    [
        pytest.param({"SM_VLLM_QUANTIZATION": "no_such"}, id="a value"),
        pytest.param({"SM_VLLM_MAX_MODEL_LEN": "999999"}, id="a value for this model"),
    ],
)
def test_arguments_refused_after_parsing_are_not_retried(
    variable: dict[str, str],
) -> None:
    env = {**ENV, **PATCHED, "SM_VLLM_MODEL": tiny_model(), **variable}
    end = run_until_exit([MHCS, "serve"], env, timeout=START_TIMEOUT_S)
    assert end.status == 2, end.stderr
    assert end.stderr.count("for VllmConfig") + end.stderr.count("for ModelConfig") == 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with a configuration file, lists, service links, Vertex AI's names."""
    (tmp_path / "README.md").touch()
    config = {"model": tiny_model(), "max-model-len": 256, "port": 1}
    (tmp_path / "vllm.yaml").write_text(json.dumps(config))
    server = Server([MHCS, "serve", "--enforce-eager"], timeout=START_TIMEOUT_S)
    del server.command[-4:]
    server.env |= {
        **ENV,
        "AIP_HTTP_PORT": str(server.port),
        "AIP_HEALTH_ROUTE": "/healthz",
        "AIP_PREDICT_ROUTE": "/predict",
        "HF_MODEL_ID": "no/model",
        "PYTHONPATH": os.pathsep.join([HERE, STARTUP]),
        "SAGEMAKER_MODEL_PATH": str(tmp_path),
        "SM_VLLM_CONFIG": str(tmp_path / "vllm.yaml"),
        "SM_VLLM_MIDDLEWARE": '["marking.Marking", "marking.Second"]',
        "SM_VLLM_PORT": "tcp://10.0.0.9:8000",
        "SM_VLLM_SERVED_MODEL_NAME": '["tiny", "small"]',
        "SM_VLLM_SERVICE_HOST": "10.0.0.9",
    }
    with server:
        yield server


@pytest.mark.skipif(
    RELEASE < (0, 9),
    reason="vllm serve does not read the model from its configuration file",
)
def test_common_configuration_is_served(server: Server) -> None:
    answer = server.client.get("/healthz")
    assert answer.status_code == 200
    assert answer.headers["x-marking"] == answer.headers["x-second"] == "yes"
    models = server.client.get("/v1/models").json()["data"]
    assert {"tiny", "small"} <= {model["id"] for model in models}
    body = {"model": "small", "prompt": "hello", "max_tokens": 2}
    assert server.client.post("/predict", json=body).status_code == 200
