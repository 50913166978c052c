from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from doctor_command import doctor_says
from fixtures import Script
from mhcs.doctor import engines
from mhcs.doctor.migration import PAGE
from wheels import write_wheel

METADATA = f"""Metadata-Version: 2.1
Name: vllm
Version: 0.99
Requires-Dist: {engines.DISTRIBUTION}>=0.1.14
"""


@pytest.fixture
def engine_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a vLLM that calls bootstrap itself, as an image has it."""
    package, info = (tmp_path / "site" / name for name in ("vllm", "vllm.dist-info"))
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def model_path(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_MODEL_PATH", str(model_folder))


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_doctor_says_how_requirements_are_installed(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def requirements() -> str:
        text: str = json.loads(doctor_says("--json")[1])["requirements"]
        return text

    file = model_folder / "requirements.txt"
    assert requirements() == f"{file} does not exist"
    file.touch()
    by = "is installed by mhcs serve and standard-supervisor, from"
    assert requirements() == f"{file} {by} an index"
    write_wheel(model_folder / "requirements", "wheel")
    assert requirements() == f"{file} {by} packages of {model_folder / 'requirements'}"
    monkeypatch.setenv("STANDARD_AUTO_INSTALL_REQ", "perhaps")
    assert requirements() == f"{file} {by} packages of {model_folder / 'requirements'}"
    monkeypatch.setenv("STANDARD_AUTO_INSTALL_REQ", "0")
    assert (
        requirements()
        == f"{file} is not installed: disabled by STANDARD_AUTO_INSTALL_REQ"
    )


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_healthy_setup_has_no_problems(script: Script) -> None:
    path = script("def invoke(request): return 1")
    status, output = doctor_says("--json")
    report = json.loads(output)
    assert (status, report["problems"]) == (0, [])
    assert report["versions"]["model-hosting-container-standards"]
    assert report["variables"]["SAGEMAKER_MODEL_PATH"] == str(path.parent)
    assert report["activation"]["vllm"] == [
        "calls bootstrap(app) itself",
        f"patched when it is imported, because of SAGEMAKER_MODEL_PATH={path.parent}",
    ]
    assert report["script"] == f"{path} exists"
    assert report["handlers"]["/ping"].startswith("the framework's registered handler")
    assert f"model.invoke ({path}:1)" in report["handlers"]["/invocations"]
    status, text = doctor_says()
    assert status == 0
    assert "problems:\n  none" in text


def test_unpatched_engine_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAGEMAKER_MODEL_PATH")
    (tmp_path / "site" / "tensorrt_llm").mkdir(parents=True)
    (tmp_path / "site" / "tensorrt_llm" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    problem = "tensorrt_llm does not know this package"
    status, output = doctor_says()
    assert (status, problem in output) == (1, True)
    for value in ("0", "1"):
        monkeypatch.setenv("MHCS_AUTO", value)
        assert problem not in doctor_says()[1]


def test_engine_that_is_configured_needs_no_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAGEMAKER_MODEL_PATH")
    (tmp_path / "site" / "ray").mkdir(parents=True)
    (tmp_path / "site" / "ray" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    _, output = doctor_says()
    assert "ray: calls bootstrap(app) if its configuration has ingress_cls" in output
    assert "ray does not know this package" not in output


@pytest.mark.usefixtures("engine_is_installed")
@pytest.mark.parametrize(
    ("name", "value", "activation"),
    [
        ("MHCS_DISABLE", "vllm", "not patched: disabled by MHCS_DISABLE"),
        ("MHCS_AUTO", "0", "not patched: MHCS_AUTO and the customising variables"),
    ],
)
def test_doctor_says_why_engine_is_not_patched(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, activation: str
) -> None:
    monkeypatch.setenv(name, value)
    assert activation in doctor_says()[1]


@pytest.mark.usefixtures("engine_is_installed", "model_path")
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("MHCS_STRICT", "x", "MHCS_STRICT='x' is not allowed: use 1"),
        ("LOG_LEVEL", "x", "LOG_LEVEL='x' is not allowed"),
        ("STANDARD_PIP_ARGS", "'x", "quote it as for a shell"),
        ("STANDARD_PIP_ARG", "x", "did you mean STANDARD_PIP_ARGS?"),
        ("PROCESS_MAX_START_RETRY", "1", "did you mean PROCESS_MAX_START_RETRIES?"),
        ("MHCS_FOO", "1", "MHCS_FOO is set, but nothing reads it."),
        ("CUSTOM_PRE_PROCESS", "model:f", "has no 'f'"),
        ("CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE", "/ping", "is a path of the app"),
        ("MHCS_THROTTLE_MAX_IN_FLIGHT", "4", "set CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE="),
        ("CUSTOM_FASTAPI_PING_HANDELER", "x", "you mean CUSTOM_FASTAPI_PING_HANDLER?"),
        ("CUSTOM_FASTAPI_PING_HANDLER", "bad", "'bad' is not a handler spec: write"),
        ("CUSTOM_FASTAPI_PING_HANDLER", "model:no", "has no 'no'"),
        (
            "CUSTOM_SCRIPT_FILENAME",
            "absent.py",
            "CUSTOM_SCRIPT_FILENAME='absent.py', but",
        ),
        ("CUSTOM_SCRIPT_FILENAME", "raises.py", "raised KeyError"),
        ("SAGEMAKER_MODEL_PATH", "/nope", "SAGEMAKER_MODEL_PATH=/nope is not a folder"),
        ("VLLM_USE_RUST_FRONTEND", "1", "starts vLLM's HTTP server in Rust"),
    ],
)
def test_doctor_finds_problems(
    monkeypatch: pytest.MonkeyPatch, script: Script, name: str, value: str, problem: str
) -> None:
    script("value = 1")
    raises = script("def f(): raise KeyError('x')\nf()", "raises.py")
    monkeypatch.setenv(name, value)
    status, output = doctor_says("--json")
    assert status == 1
    [found] = json.loads(output)["problems"]
    assert problem in found
    if value == raises.name:
        assert found.endswith(f"({raises}:1)")


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_doctor_reports_missing_start_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent)])
    assert "mhcs.pth is not in site-packages" in doctor_says()[1]


def test_doctor_reports_missing_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    status, output = doctor_says()
    assert status == 1
    assert "No engine is installed here" in output


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_path_spec_is_left_to_startup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "/health")
    assert "the server's route /health, if it has one" in doctor_says()[1]


def test_engine_without_distribution_does_not_call_bootstrap() -> None:
    assert not engines._calls_bootstrap("no-such-distribution")


@pytest.mark.usefixtures("engine_is_installed", "model_path")
@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import threading\ndef invoke(what: threading.Thread): pass", "model.invoke"),
        ("class H:\n def __init__(self): 1 / 0\n def __call__(self): pass", "model.H"),
    ],
)
def test_doctor_loads_script_and_handlers(
    monkeypatch: pytest.MonkeyPatch, script: Script, source: str, problem: str
) -> None:
    script(source)
    if "class" in source:
        monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "model:H")
    status, output = doctor_says("--json")
    assert status == 1
    assert problem in json.loads(output)["problems"][0]


def test_doctor_prints_undecodable_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_MODEL_PATH", "/models/\udcff")
    assert r"/models/\udcff" in doctor_says()[1]
    report = json.loads(doctor_says("--json")[1])
    assert report["variables"]["SAGEMAKER_MODEL_PATH"] == "/models/\udcff"


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_doctor_names_middleware_and_its_source(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        "from model_hosting_container_standards.common.fastapi import middleware\n"
        "@middleware.output_formatter\n"
        "def sign(response): pass\n"
    )
    throttle = "mhcs.throttle:Throttle"
    monkeypatch.setenv("CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE", throttle)
    monkeypatch.setenv("MHCS_THROTTLE_MAX_IN_FLIGHT", "4")
    status, output = doctor_says("--json")
    middleware = json.loads(output)["middleware"]
    assert status == 0
    assert [*middleware] == ["throttle", "output_formatter"]
    assert "model.sign (" in middleware["output_formatter"]
    assert "output_formatter decorator" in middleware["output_formatter"]
    assert f"CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE={throttle}" in middleware["throttle"]
    monkeypatch.delenv("MHCS_THROTTLE_MAX_IN_FLIGHT")
    status, output = doctor_says("--json")
    assert status == 1
    [problem] = json.loads(output)["problems"]
    assert "set MHCS_THROTTLE_MAX_IN_FLIGHT" in problem


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_doctor_shows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_API_KEY", "s3cret")
    for arguments in ((), ("--json",)):
        status, output = doctor_says(*arguments)
        assert (status, "s3cret" in output) == (0, False)
        assert "MHCS_API_KEY" in output


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_doctor_says_what_arguments_install_instead_of_the_file(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by = "is installed by mhcs serve and standard-supervisor"
    monkeypatch.setenv("STANDARD_PIP_ARGS", "six")
    assert report()["requirements"] == f"what STANDARD_PIP_ARGS names {by}"
    file = model_folder / "requirements.txt"
    file.touch()
    assert report()["requirements"] == (
        f"what STANDARD_PIP_ARGS names {by}; {file} is not used"
    )
    monkeypatch.setenv("STANDARD_PIP_ARGS", "--quiet")
    assert report()["requirements"] == f"{file} {by}, from an index"
    monkeypatch.setenv("STANDARD_PIP_ARGS", "--no-index --find-links=/wheels")
    assert report()["requirements"] == f"{file} {by}"
    monkeypatch.setenv("STANDARD_AUTO_INSTALL_REQ", "0")
    monkeypatch.setenv("STANDARD_PIP_ARGS", "six")
    assert report()["requirements"].startswith("what STANDARD_PIP_ARGS names is not")


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_arguments_that_cannot_be_read_are_a_problem(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDARD_PIP_ARGS", "'six")
    assert report()["requirements"].endswith("does not exist")
    (model_folder / "requirements.txt").touch()
    assert "STANDARD_PIP_ARGS" in report()["problems"][0]


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_unknown_key_of_supervisord_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUPERVISOR_PROGRAM__APP_STOPWAITSEC", "5")
    [problem] = report()["problems"]
    assert "SUPERVISOR_PROGRAM__APP_STOPWAITSECS" in problem
    monkeypatch.delenv("SUPERVISOR_PROGRAM__APP_STOPWAITSEC")
    monkeypatch.setenv("SUPERVISOR_TOKEN", "not supervisord's")
    assert report()["problems"] == []


@pytest.mark.usefixtures("engine_is_installed")
def test_doctor_names_each_set_variable_that_means_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SAGEMAKER_MODEL_PATH", "SAGEMAKER_SESSIONS_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAGEMAKER_SESSIONS_EXPIRATION", "60")
    assert report()["migration"] == []
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    sessions, level = report()["migration"]
    assert sessions.startswith("SAGEMAKER_ENABLE_STATEFUL_SESSIONS: every handler")
    assert level.startswith("LOG_LEVEL: ")
    assert f"({PAGE}):\n  {sessions}\n" in doctor_says()[1]


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_doctor_names_handler_of_streams(script: Script) -> None:
    path = script(
        "from model_hosting_container_standards import sagemaker\n"
        "@sagemaker.stream\n"
        "async def talk(websocket): ...\n"
    )
    handlers = report()["handlers"]
    expected = f"model.talk ({path}:2) (@stream decorator)"
    assert handlers["/invocations-bidirectional-stream"] == expected


@pytest.mark.usefixtures("engine_is_installed", "model_path")
def test_doctor_reports_handler_of_streams_that_cannot_be_called(
    script: Script,
) -> None:
    script(
        "from model_hosting_container_standards import sagemaker\n"
        "@sagemaker.stream\n"
        "def talk(websocket): ...\n"
    )
    [problem] = report()["problems"]
    assert problem.startswith("@stream: model.talk (")


def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(doctor_says("--json")[1])
    return found
