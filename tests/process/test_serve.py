"""``mhcs serve``: the command that it derives from the environment, and its server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from mhcs.serve import engines
from model_hosting_container_standards.engines.api import Engine
from model_hosting_container_standards.engines.command import EngineCommand
from model_hosting_container_standards.engines.description import EngineDescription
from model_hosting_container_standards.exceptions import (
    ConfigurationError,
    HandlerFileNotFoundError,
    ModuleLoadError,
)
from model_hosting_container_standards.processes.tree import is_running
from serve_plans import (
    ADDRESS,
    ENGINES,
    START,
    command,
    flags,
    hide,
    put_on_path,
    write_package,
)
from servers import Exit, Process, Server, polling, run_until_exit
from supervised import ANY_PROCESS, MHCS, PROCESS_1, Gate, supervisor_of
from trtllm import RELEASES, environment_of

#: Options in the forms of vLLM's and of TensorRT-LLM's source.
SOURCE: Final = """
    a: int
    b: int
    c: bool
    enable_lora: bool
    max_model_len: int
    port: int
    seed: int
"--backend" "--max_batch_size"
"""


@pytest.fixture(params=ENGINES)
def engine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """The only installed engine; its parser cannot be run."""
    name: str = request.param
    install(monkeypatch, tmp_path, name)
    return name


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    for name in names:
        write_package(folder / "site", name, SOURCE)
    put_on_path(monkeypatch, folder / "site")
    hide(monkeypatch, *{*ENGINES} - {*names})


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "vllm")


def test_command_imports_no_web_framework() -> None:
    """It would take longer to import than all that the command does."""
    code = "import sys, mhcs.cli; print(*sys.modules)"
    modules = run_until_exit([sys.executable, "-c", code]).stdout.split()
    assert "mhcs.serve.plan" in modules
    assert not {"fastapi", "pydantic", "starlette"} & {*modules}


def test_model_and_address_come_first(engine: str) -> None:
    start = START[engine]
    assert command() == [*start, "org/model", *ADDRESS]
    assert command(SAGEMAKER_BIND_TO_PORT="9000")[-1] == "9000"
    assert command(AIP_HTTP_PORT="9001")[-1] == "9001"


@pytest.mark.usefixtures("vllm")
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
        ("[" * 100_000, ["[" * 100_000]),
    ],
)
def test_values_follow_the_contract(value: str, expected: list[str]) -> None:
    assert flags(MAX_MODEL_LEN=value) == ["--max-model-len", *expected]


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("value", ["false", "FALSE", "[]", " [ ] "])
def test_some_values_add_nothing(value: str) -> None:
    assert flags(ENABLE_LORA=value) == []


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    "name", ["ALLOWED_ORIGINS", "ALLOWED_METHODS", "ALLOWED_HEADERS", "MIDDLEWARE"]
)
def test_some_flags_take_an_array_as_json(name: str) -> None:
    """Without the engine's parser; for the others see test_serve_parser."""
    value = '["*",  "a"]'
    assert flags(**{name: value}) == [f"--{name.lower().replace('_', '-')}", value]


@pytest.mark.usefixtures("vllm")
def test_flags_are_sorted_by_name() -> None:
    assert flags(B="2", A="1", C="true") == ["--a", "1", "--b", "2", "--c"]


@pytest.mark.parametrize("engine", ["tensorrt_llm"], indirect=True)
def test_tensorrt_llm_flag_syntax(engine: str) -> None:
    assert command(SM_TRTLLM_MAX_BATCH_SIZE="8")[-2:] == ["--max_batch_size", "8"]
    # The exceptions are options of vLLM, and do not apply to TensorRT-LLM.
    assert command(SM_TRTLLM_MIDDLEWARE='["a"]')[-2:] == ["--middleware", "a"]


@pytest.mark.usefixtures("vllm")
def test_command_line_takes_precedence() -> None:
    whole = command("--port", "9", SM_VLLM_PORT="8")
    assert whole[-4:] == ["--port", "8", "--port", "9"]
    whole = command("/my/model", "--port", "9", SM_VLLM_MODEL="other")
    assert whole == ["vllm", "serve", "/my/model", *ADDRESS, "--port", "9"]


@pytest.mark.parametrize(
    "name",
    ["LOG_LEVEL", "MHCS_DRAIN_SECONDS", "MHCS_GUARD", "MHCS_PING_STALL_SECONDS"],
)
def test_bad_settings_are_rejected_before_server_starts(engine: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}='x y' is not allowed"):
        command(**{name: "x y"})


def test_unloadable_script_is_rejected_before_server_starts(
    engine: str, model_folder: Path
) -> None:
    environ = {"SAGEMAKER_MODEL_PATH": str(model_folder)}
    assert command(**environ)
    with pytest.raises(HandlerFileNotFoundError, match="other.py does not exist"):
        command(**environ, CUSTOM_SCRIPT_FILENAME="other.py")
    script = model_folder / "model.py"
    script.write_text("raise SystemExit('It is not run.')")
    assert command(**environ)
    for broken in (b"def half_written(", b"\0", b"x = '\xff'"):
        script.write_bytes(broken)
        with pytest.raises(ModuleLoadError, match="model.py cannot be loaded: "):
            command(**environ)


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("name", ["SM_VLLM_", "SM_VLLM__"])
def test_variable_must_name_an_argument(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}='1' is not allowed"):
        command(**{name: "1"})


# --- the engine --------------------------------------------------------------------


def test_missing_engine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, *ENGINES)
    with pytest.raises(LookupError, match="No engine is installed here"):
        command()


def test_variable_selects_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path, *ENGINES)
    for link in ({}, {"SM_VLLM_PORT": "tcp://10.0.0.9:8000"}):
        with pytest.raises(LookupError, match="More than one engine"):
            command(**link)
    assert command(SM_TRTLLM_BACKEND="pytorch")[0] == "trtllm-serve"
    assert command(SM_VLLM_SEED="1")[0] == "vllm"


class OtherCommand(EngineCommand):
    """An engine that is started as a module, and overrides only what is required."""

    executables = ("python",)
    prefix = "SM_OTHER_"
    model_flags = ("--model-path",)

    def command(self, model: str | None) -> list[str]:
        named = ["--model-path", model] if model is not None else []
        return ["python", "-m", "other.launch_server", *named]


class Other(Engine):
    description = EngineDescription(name="other")
    command = OtherCommand()


def test_minimal_engine_can_be_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_folder: Path
) -> None:
    (tmp_path / "site" / "other").mkdir(parents=True)
    put_on_path(monkeypatch, tmp_path / "site")
    published: list[Engine] = [Other()]
    monkeypatch.setattr(engines, "installed_engines", lambda: iter(published))
    start = ["python", "-m", "other.launch_server", "--model-path"]
    assert command(SM_OTHER_MEM_FRACTION="1") == [
        *(*start, "org/model", *ADDRESS),
        *("--mem-fraction", "1"),
    ]
    assert command("--model-path", "X")[:5] == [*start, "X"]
    (model_folder / "config.json").touch()
    folder = str(model_folder)
    assert command(SAGEMAKER_MODEL_PATH=folder)[:5] == [*start, folder]
    assert command(SM_OTHER_X='["a", "b"]')[-3:] == ["--x", "a", "b"]
    assert OtherCommand().parser() is None
    assert OtherCommand().read_config(Path("any.yaml")) == {}


def test_command_beside_this_python_takes_precedence_over_path() -> None:
    assert engines.executable_path("mhcs") == MHCS
    assert engines.executable_path("env") == "/usr/bin/env"
    assert engines.executable_path("no-such-engine") == "no-such-engine"


# --- real processes ----------------------------------------------------------------


def environment(**env: str) -> dict[str, str]:
    return environment_of(RELEASES[-1], {"SM_TRTLLM_MODEL": "standin", **env})


def run(*arguments: str, env: Mapping[str, str]) -> Exit:
    return run_until_exit([MHCS, "serve", *arguments], env)


def test_dry_run_prints_command() -> None:
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
        ({"AIP_HEALTH_ROUTE": "health"}, "AIP_HEALTH_ROUTE='health'"),
        ({"SM_TRTLLM_MODEL": ""}, "No model was found"),
    ],
)
def test_problems_are_reported(env: dict[str, str], reason: str) -> None:
    end = run("--dry-run", env={**environment(), "SAGEMAKER_MODEL_PATH": "/no", **env})
    assert end.status == 1
    assert end.stderr.startswith(f"mhcs serve: {reason}")


class Served(Server):
    """A server started by ``mhcs serve``, which gets its port from the environment."""

    def __init__(self, *arguments: str, **env: str) -> None:
        super().__init__([MHCS, "serve", *arguments], environment(**env))
        del self.command[-4:]
        self.env["AIP_HTTP_PORT"] = str(self.port)


def test_image_serves_and_is_restarted() -> None:
    with Served(SM_TRTLLM_SERVICE_HOST="10.0.0.9") as server:
        assert server.client.get("/ping").status_code == 200
        body = {"model": "standin", "prompt": "hello"}
        assert server.client.post("/invocations", json=body).status_code == 200
        first = server.client.get("/standin").json()["pid"]
        os.kill(first, signal.SIGKILL)
        server.wait_until_ready("/ping")
        assert server.client.get("/standin").json()["pid"] != first
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(30) in (0, 128 + signal.SIGTERM)


def test_hung_server_is_restarted_unless_disabled() -> None:
    """SageMaker does not replace the containers of inference components."""
    with Served(MHCS_PING_STALL_SECONDS="1") as server:
        first = server.client.get("/standin").json()["pid"]
        os.kill(first, signal.SIGSTOP)
        for _ in polling(60):
            if not is_running(first):
                break
        server.wait_until_ready("/ping")
        assert server.client.get("/standin").json()["pid"] != first
    with Served(MHCS_RESTART_ON_HANG="false") as server:
        pid = server.client.get("/standin").json()["pid"]
        variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
        assert "MHCS_RESTART_ON_HANG=false" in variables


@pytest.mark.parametrize("before", [ANY_PROCESS, PROCESS_1])
def test_sigterm_is_handled_before_imports(tmp_path: Path, before: list[str]) -> None:
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
