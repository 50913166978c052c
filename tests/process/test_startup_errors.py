"""Configuration errors stop the server within seconds, with an explanation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from layouts import PYTHON_M, SERVE, fail_to_start, standin
from servers import Exit

PING: Final = "CUSTOM_FASTAPI_PING_HANDLER"
INVOCATION: Final = "CUSTOM_FASTAPI_INVOCATION_HANDLER"
SCRIPT_NAME: Final = "CUSTOM_SCRIPT_FILENAME"
LEVELS: Final = "use DEBUG, INFO"
BOOLEANS: Final = "use 1, true"
FORMS: Final = "package.module:function"

# Ways to reach bootstrap: the patch, python -m, vLLM's own call, a child process.
WAYS: Final = {
    "patched": ("v0_6", *SERVE),
    "python -m": ("v0_6", *PYTHON_M),
    "its own call": ("v0_29", *SERVE),
    "spawned": ("v0_29", *SERVE, "--api-server-count", "2"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder whose script defines a name that is not a function."""
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "model.py").write_text("NUMBER = 7\n")
    return folder


def start(
    folder: Path, env: dict[str, str], way: tuple[str, ...] = WAYS["patched"]
) -> Exit:
    layout, *command = way
    variables = {"SAGEMAKER_MODEL_PATH": str(folder), **env}
    return fail_to_start(layout, *command, env=variables)


def message(end: Exit) -> str:
    """Return the message of the error that ended the server."""
    assert end.status > 0, "the server was killed by a signal, or exited with 0"
    ours = "model_hosting_container_standards.exceptions."
    errors = [line for line in end.stderr.splitlines() if line.startswith(ours)]
    assert errors, end.stderr
    return errors[-1]


# --- values ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        (PING, "ping", FORMS),
        (PING, "model.py:", FORMS),
        (INVOCATION, "https://example.com/", FORMS),
        (INVOCATION, "../outside.py:fn", "absolute path"),
        (SCRIPT_NAME, "absent.py", f"unset {SCRIPT_NAME}"),
        ("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "maybe", BOOLEANS),
        ("SAGEMAKER_CONTAINER_LOG_LEVEL", "LOUD", LEVELS),
        ("LOG_LEVEL", "LOUD", LEVELS),
        ("CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE", "nonsense", ""),
        ("CUSTOM_FASTAPI_MIDDLEWARE_PRE_POST_PROCESS", "nonsense", ""),
        ("CUSTOM_PRE_PROCESS", "nonsense", ""),
        ("CUSTOM_POST_PROCESS", "nonsense", ""),
        ("SAGEMAKER_TRANSFORMS_LOAD_ADAPTER_DEFAULTS", "nonsense", ""),
        ("SAGEMAKER_TRANSFORMS_UNLOAD_ADAPTER_DEFAULTS", "nonsense", ""),
    ],
)
def test_bad_value_error_names_variable_and_allowed_values(
    folder: Path, name: str, value: str, allowed: str
) -> None:
    error = message(start(folder, {name: value}))
    assert name in error
    assert value in error
    assert allowed in error


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_bad_value_stops_every_kind_of_startup(
    folder: Path, way: tuple[str, ...]
) -> None:
    error = message(start(folder, {"SAGEMAKER_CONTAINER_LOG_LEVEL": "LOUD"}, way))
    assert "SAGEMAKER_CONTAINER_LOG_LEVEL='LOUD'" in error


# --- specs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("model.py:absent", "has no 'absent'"),
        ("model:absent", "has no 'absent'"),
        ("model.py:NUMBER", "not a callable"),
        ("absent.py:fn", "does not exist"),
        ("/absent/handlers.py:fn", "does not exist"),
        ("absent_package.module:fn", "'absent_package' does not exist"),
        ("/v1/absent", "no route '/v1/absent'"),
    ],
)
def test_unresolvable_spec_error_names_variable_and_reason(
    folder: Path, spec: str, why: str
) -> None:
    error = message(start(folder, {PING: spec}))
    assert PING in error
    assert spec in error
    assert why in error


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_bad_spec_stops_every_kind_of_startup(
    folder: Path, way: tuple[str, ...]
) -> None:
    error = message(start(folder, {INVOCATION: "model.py:absent"}, way))
    assert "has no 'absent'" in error


# --- scripts -----------------------------------------------------------------------

RAISES: Final = """
def load_weights():
    raise RuntimeError("no weights here")

load_weights()
"""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_script_error_shows_customers_traceback(
    folder: Path, way: tuple[str, ...]
) -> None:
    script = folder / "model.py"
    script.write_text(RAISES)
    end = start(folder, {}, way)
    assert end.status > 0
    assert f'File "{script}", line 5, in <module>' in end.stderr
    assert f'File "{script}", line 3, in load_weights' in end.stderr
    assert "RuntimeError: no weights here" in end.stderr


def test_syntax_error_in_script_shows_line(folder: Path) -> None:
    script = folder / "model.py"
    script.write_text("def ping(:\n")
    end = start(folder, {})
    assert end.status > 0
    assert f'File "{script}", line 1' in end.stderr
    assert "SyntaxError" in end.stderr


def test_missing_module_of_script_is_named(folder: Path) -> None:
    (folder / "model.py").write_text("import missing_module\n")
    end = start(folder, {})
    assert end.status > 0
    assert "No module named 'missing_module'" in end.stderr


# --- not errors --------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {"MHCS_DISABLE": "vllm", PING: "model.py:absent"},
        {"MHCS_AUTO": "0", PING: "model.py:absent"},
        {"LOG_LEVEL": "LOUD", "SAGEMAKER_CONTAINER_LOG_LEVEL": "ERROR"},
        {PING: "", INVOCATION: "", SCRIPT_NAME: "", "LOG_LEVEL": ""},
        {"SAGEMAKER_SESSIONS_EXPIRATION": "-1"},
        {"SAGEMAKER_TRANSFORMS_CREATE_SESSION_DEFAULTS": "nonsense"},
    ],
    ids=str,
)
def test_unused_variables_are_not_checked(folder: Path, env: dict[str, str]) -> None:
    variables = {"SAGEMAKER_MODEL_PATH": str(folder), **env}
    with standin("v0_6", env=variables) as server:
        assert server.client.get("/health").status_code == 200


def test_missing_script_is_not_an_error(tmp_path: Path) -> None:
    env = {"SAGEMAKER_MODEL_PATH": str(tmp_path / "absent")}
    with standin("v0_6", env=env) as server:
        assert server.client.get("/ping").status_code == 200
