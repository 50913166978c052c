"""``mhcs serve``: the command that the environment asks for, and its server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from mhcs import serve
from mhcs.serve import command_of
from model_hosting_container_standards.config import read_settings
from model_hosting_container_standards.exceptions import (
    ConfigurationError,
    HandlerFileNotFoundError,
    ModuleLoadError,
)
from servers import Process, Server, run_until_exit
from test_supervisor import ANY_PROCESS, PROCESS_1, Gate, supervisor_of
from trtllm import RELEASES, environment_of

MHCS: Final = str(Path(sys.executable).with_name("mhcs"))
ADDRESS: Final = ["--host", "0.0.0.0", "--port", "8080"]


@pytest.fixture(params=["vllm", "tensorrt_llm"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one engine that is installed."""
    name: str = request.param
    install(monkeypatch, name)
    return name


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(
        serve, "find_spec", lambda name: name if name in names else None
    )
    monkeypatch.setattr(serve, "executable_path", lambda name: name)


def command(*arguments: str, **environ: str) -> list[str]:
    """Return the command, for a model that the environment names."""
    environ = {"HF_MODEL_ID": "org/model", **environ}
    return command_of(read_settings(environ), environ, arguments)


def flags(**environ: str) -> list[str]:
    """Return what vLLM's variables add."""
    start = ["vllm", "serve", "org/model", *ADDRESS]
    whole = command(**{f"SM_VLLM_{name}": value for name, value in environ.items()})
    assert whole[: len(start)] == start
    return whole[len(start) :]


def test_the_model_and_the_address_come_first(engine: str) -> None:
    start = {"vllm": ["vllm", "serve"], "tensorrt_llm": ["trtllm-serve"]}[engine]
    assert command() == [*start, "org/model", *ADDRESS]
    assert command(SAGEMAKER_BIND_TO_PORT="9000")[-1] == "9000"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2048", ["2048"]),
        ("a b  c", ["a b  c"]),
        ("true", []),
        ("True", []),
        ("", []),
        ("0", ["0"]),
        ("null", ["null"]),
        ("-1", ["-1"]),
        ('["a b", "c", 1, 2.5, {"d": true}]', ["a b", "c", "1", "2.5", '{"d": true}']),
        ('{"a":   [1, 2]}', ['{"a":   [1, 2]}']),
        ('{"a": 1} {"b": 2}\n{"c": 3}', ['{"a": 1}', '{"b": 2}', '{"c": 3}']),
        ('{"a": 1} b', ['{"a": 1} b']),
        ('{"a": 1', ['{"a": 1']),
        ('"text"', ['"text"']),
        ("[1, 2", ["[1, 2"]),
        ("é %; #'\"\\\n", ["é %; #'\"\\\n"]),
    ],
)
def test_a_value_is_what_the_contract_says(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: list[str]
) -> None:
    install(monkeypatch, "vllm")
    assert flags(MAX_MODEL_LEN=value) == ["--max-model-len", *expected]


@pytest.mark.parametrize("value", ["false", "FALSE", "[]", " [ ] "])
def test_some_values_add_nothing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    install(monkeypatch, "vllm")
    assert flags(ENABLE_LORA=value) == []


@pytest.mark.parametrize(
    "name", ["ALLOWED_ORIGINS", "ALLOWED_METHODS", "ALLOWED_HEADERS", "MIDDLEWARE"]
)
def test_some_flags_read_an_array_themselves(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    install(monkeypatch, "vllm")
    value = '["*",  "a"]'
    assert flags(**{name: value}) == [f"--{name.lower().replace('_', '-')}", value]


def test_flags_come_in_the_order_of_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "vllm")
    assert flags(B="2", A="1", C="true") == ["--a", "1", "--b", "2", "--c"]


def test_tensorrt_llm_has_its_own_way_to_write_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "tensorrt_llm")
    assert command(SM_TRTLLM_MAX_BATCH_SIZE="8")[-2:] == ["--max_batch_size", "8"]


def test_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "vllm")
    whole = command("--port", "9", SM_VLLM_PORT="8")
    assert whole[-4:] == ["--port", "8", "--port", "9"]
    whole = command("/my/model", "--port", "9", SM_VLLM_MODEL="other")
    assert whole == ["vllm", "serve", "/my/model", *ADDRESS, "--port", "9"]


# --- the model and the engine ------------------------------------------------------


def test_the_model_is_the_variables_the_folders_or_the_hubs(
    engine: str, model_folder: Path
) -> None:
    prefix = {"vllm": "SM_VLLM_", "tensorrt_llm": "SM_TRTLLM_"}[engine]
    folder = {"SAGEMAKER_MODEL_PATH": str(model_folder)}
    assert "org/model" in command(**folder)
    (model_folder / "config.json").touch()
    assert str(model_folder) in command(**folder)
    assert "mine" in command(**folder, **{f"{prefix}MODEL": "mine"})
    assert "--model" not in command(**{f"{prefix}MODEL": "mine"})


def test_code_alone_is_no_model(engine: str, model_folder: Path) -> None:
    folder = {"SAGEMAKER_MODEL_PATH": str(model_folder)}
    for name in ("model.py", "helpers.py", "requirements.txt"):
        (model_folder / name).touch()
    for name in ("requirements", "__pycache__"):
        (model_folder / name).mkdir()
    assert "org/model" in command(**folder)
    (model_folder / "model.gguf").touch()
    assert str(model_folder) in command(**folder)


@pytest.mark.parametrize(
    "name",
    ["LOG_LEVEL", "MHCS_DRAIN_SECONDS", "MHCS_GUARD", "MHCS_PING_STALL_SECONDS"],
)
def test_what_a_server_would_refuse_is_refused_before_it_starts(
    engine: str, name: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}='x y' is not allowed"):
        command(**{name: "x y"})


def test_a_script_that_no_server_could_load_is_refused_before_it_starts(
    engine: str, tmp_path: Path
) -> None:
    environ = {"SAGEMAKER_MODEL_PATH": str(tmp_path)}
    assert command(**environ)
    with pytest.raises(HandlerFileNotFoundError, match="other.py does not exist"):
        command(**environ, CUSTOM_SCRIPT_FILENAME="other.py")
    script = tmp_path / "model.py"
    script.write_text("raise SystemExit('It is not run.')")
    assert command(**environ)
    for broken in (b"def half_written(", b"\0", b"x = '\xff'"):
        script.write_bytes(broken)
        with pytest.raises(ModuleLoadError, match="model.py cannot be loaded: "):
            command(**environ)


@pytest.mark.parametrize("engine", ["vllm"], indirect=True)
@pytest.mark.parametrize("name", ["SM_VLLM_", "SM_VLLM__"])
def test_a_variable_must_name_an_argument(engine: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}='1' is not allowed"):
        command(**{name: "1"})


def test_without_a_model_there_is_nothing_to_serve(engine: str, tmp_path: Path) -> None:
    environ = {"SAGEMAKER_MODEL_PATH": str(tmp_path / "missing")}
    with pytest.raises(LookupError, match="There is no model: put one into .*missing"):
        command_of(read_settings(environ), environ, ())


def test_there_must_be_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(LookupError, match="No engine is installed here"):
        command()


def test_a_variable_of_its_own_chooses_among_engines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "vllm", "tensorrt_llm")
    with pytest.raises(LookupError, match="More than one engine"):
        command()
    assert command(SM_TRTLLM_BACKEND="pytorch")[0] == "trtllm-serve"
    assert command(SM_VLLM_SEED="1")[0] == "vllm"


def test_the_command_beside_this_python_goes_before_the_path() -> None:
    assert serve.executable_path("mhcs") == MHCS
    assert serve.executable_path("env") == "/usr/bin/env"
    assert serve.executable_path("no-such-engine") == "no-such-engine"


# --- for real ----------------------------------------------------------------------


def environment(**env: str) -> dict[str, str]:
    return environment_of(RELEASES[-1], {"SM_TRTLLM_MODEL": "standin", **env})


def run(*arguments: str, env: Mapping[str, str]) -> Any:
    return run_until_exit([MHCS, "serve", *arguments], env)


def test_a_dry_run_prints_the_command() -> None:
    env = environment(SM_TRTLLM_TOKENIZER="a b")
    end = run("--dry-run", "--backend", "pytorch", env=env)
    assert end.status == 0, end.stderr
    executable, *rest = end.stdout.split(maxsplit=1)
    assert Path(executable).name == "trtllm-serve"
    assert rest == [
        "standin --host 0.0.0.0 --port 8080 --tokenizer 'a b' --backend pytorch\n"
    ]


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"SAGEMAKER_BIND_TO_PORT": "http"}, "SAGEMAKER_BIND_TO_PORT='http'"),
        ({"SM_TRTLLM_MODEL": ""}, "There is no model"),
    ],
)
def test_what_is_wrong_is_said(env: dict[str, str], reason: str) -> None:
    end = run("--dry-run", env={**environment(), "SAGEMAKER_MODEL_PATH": "/no", **env})
    assert end.status == 1
    assert end.stderr.startswith(f"mhcs serve: {reason}")


class Served(Server):
    """``mhcs serve``, whose address is the environment's."""

    def __init__(self, *arguments: str, **env: str) -> None:
        super().__init__([MHCS, "serve", *arguments], environment(**env))
        del self.command[-4:]
        self.env["SAGEMAKER_BIND_TO_PORT"] = str(self.port)


def test_the_image_serves_and_is_kept_running() -> None:
    with Served() as server:
        assert server.client.get("/ping").status_code == 200
        body = {"model": "standin", "prompt": "hello"}
        assert server.client.post("/invocations", json=body).status_code == 200
        first = server.client.get("/standin").json()["pid"]
        os.kill(first, signal.SIGKILL)
        server.wait_until_ready("/ping")
        assert server.client.get("/standin").json()["pid"] != first
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(30) in (0, 128 + signal.SIGTERM)


@pytest.mark.parametrize("before", [ANY_PROCESS, PROCESS_1])
def test_sigterm_is_heard_before_anything_is_imported(
    tmp_path: Path, before: list[str]
) -> None:
    env = environment()
    gate = Gate(tmp_path, env["PYTHONPATH"])
    process = Process([*before, MHCS, "serve"], {**env, **gate.env})
    try:
        process.start()
        with gate.reached():
            os.kill(supervisor_of(process), signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    finally:
        process.close()
