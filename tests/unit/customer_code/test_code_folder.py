"""The model folder's subfolder ``code``, where SageMaker's tools put scripts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Script, client_of
from mhcs.doctor import examine
from model_hosting_container_standards.exceptions import (
    HandlerFileNotFoundError,
    HandlerResolutionError,
)
from model_hosting_container_standards.handlers.customer_handler import (
    check_customer_script,
)
from model_hosting_container_standards.settings import read_settings

SCRIPT = """
from beside import NAME
def ping(): return NAME
def other(): return "other of " + NAME
"""


@pytest.fixture
def code(script: Script) -> Path:
    """Write a script into the folder, and a module beside it."""
    script("NAME = 'code'", "code/beside.py")
    return script(SCRIPT, "code/model.py")


def ping_of(app: FastAPI) -> object:
    return client_of(app).get("/ping").json()


@pytest.mark.usefixtures("code")
def test_script_in_folder_is_loaded_with_modules_beside_it(
    engine_app: FastAPI,
) -> None:
    check_customer_script(read_settings())
    assert ping_of(engine_app) == "code"


def test_script_at_top_takes_precedence(
    engine_app: FastAPI,
    script: Script,
    code: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    top = script("def ping(): return 'top'")
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    assert ping_of(engine_app) == "top"
    assert f"{top} is used instead of {code}" in caplog.messages


def test_folder_named_like_the_script_is_ignored(
    engine_app: FastAPI, model_folder: Path, code: Path
) -> None:
    (model_folder / "model.py").mkdir()
    assert ping_of(engine_app) == "code"


def test_link_to_model_folder_counts_as_the_model_folder(
    engine_app: FastAPI,
    script: Script,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    script("def ping(): return 'top'")
    (model_folder / "code").symlink_to(".")
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    assert ping_of(engine_app) == "top"
    assert not any("is used instead of" in message for message in caplog.messages)


def test_script_of_another_name_is_found_in_folder(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("def ping(): return 'named'", "code/inference.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", "inference.py")
    check_customer_script(read_settings())
    assert ping_of(engine_app) == "named"


def test_named_script_in_neither_folder_is_an_error(
    engine_app: FastAPI, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", "absent.py")
    with pytest.raises(HandlerFileNotFoundError) as raised:
        sagemaker.bootstrap(engine_app)
    top, code = (folder / "absent.py" for folder in read_settings().code_folders)
    places = f"{top} does not exist, nor does {code}"
    assert f"CUSTOM_SCRIPT_FILENAME='absent.py', but {places}" in str(raised.value)


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("spec", ["model.py:other", "model:other", "beside.py:show"])
def test_handler_specs_resolve_in_folder(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    script("NAME = 'code'\ndef show(): return 'other of ' + NAME", "code/beside.py")
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", spec)
    assert ping_of(engine_app) == "other of code"


def test_specs_file_at_top_takes_precedence(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("def fn(): return 'code'", "code/lib/handlers.py")
    script("def fn(): return 'top'", "lib/handlers.py")
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "lib/handlers.py:fn")
    assert ping_of(engine_app) == "top"


def test_doctor_reports_files_in_use(
    script: Script, model_folder: Path, code: Path
) -> None:
    assert examine().script == f"{code} exists"
    top = script("")
    assert examine().script == f"{top} exists; {code} is not used"
    used, unused = model_folder / "requirements.txt", code.parent / "requirements.txt"
    unused.touch()
    assert examine().requirements.startswith(f"{unused} is installed by")
    used.touch()
    assert examine().requirements.startswith(f"{used} is installed by")
    assert examine().requirements.endswith(f"; {unused} is not used")


# --- no script ---------------------------------------------------------------------


@pytest.mark.parametrize("value", ["none", "NONE", "/dev/null"])
def test_script_can_be_disabled(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    script("raise KeyError")
    script("raise KeyError", "code/model.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", value)
    check_customer_script(read_settings())
    assert examine().script == "none: disabled by CUSTOM_SCRIPT_FILENAME"
    assert ping_of(engine_app) == "engine's ping"


def test_handler_specs_apply_without_a_script(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("def fn(): return 'fn'", "model.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", "none")
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "model.py:fn")
    assert ping_of(engine_app) == "fn"


def test_script_error_says_how_to_disable_the_script(
    engine_app: FastAPI, script: Script
) -> None:
    script("raise KeyError('weights')")
    with pytest.raises(HandlerResolutionError, match="CUSTOM_SCRIPT_FILENAME=none"):
        sagemaker.bootstrap(engine_app)


# --- names -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["no_such_module", "queue", "supervisor"])
def test_script_does_not_shadow_a_module_of_its_name(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Not for the imports of the script, nor for later imports of other modules."""
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    script("NAME = 'beside'", "beside_the_script.py")
    source = "import importlib\nfrom beside_the_script import NAME\n"
    if name != "no_such_module":
        source += f"import {name}\nassert not hasattr({name}, 'MARK')\n"
    path = script(f"{source}MARK = 1\ndef ping(): return NAME", f"{name}.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", f"{name}.py")
    assert ping_of(engine_app) == "beside"
    if name != "no_such_module":
        assert sys.modules[name].__file__ != str(path)
