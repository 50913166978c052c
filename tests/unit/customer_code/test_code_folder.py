"""The folder ``code`` of the model folder, where SageMaker's tools put scripts."""

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
    """A script in the folder, and a file beside it."""
    script("NAME = 'code'", "code/beside.py")
    return script(SCRIPT, "code/model.py")


def ping_of(app: FastAPI) -> object:
    return client_of(app).get("/ping").json()


@pytest.mark.usefixtures("code")
def test_a_script_there_is_taken_with_what_is_beside_it(engine_app: FastAPI) -> None:
    check_customer_script(read_settings())
    assert ping_of(engine_app) == "code"


def test_one_at_the_top_goes_before_it(
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


def test_a_folder_at_the_top_is_no_script(
    engine_app: FastAPI, model_folder: Path, code: Path
) -> None:
    (model_folder / "model.py").mkdir()
    assert ping_of(engine_app) == "code"


def test_a_folder_by_two_names_is_one(
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


def test_a_script_of_another_name_is_found_there(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("def ping(): return 'named'", "code/inference.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", "inference.py")
    check_customer_script(read_settings())
    assert ping_of(engine_app) == "named"


def test_one_that_was_named_and_is_in_neither_is_an_error(
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
def test_specs_lead_there_too(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    script("NAME = 'code'\ndef show(): return 'other of ' + NAME", "code/beside.py")
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", spec)
    assert ping_of(engine_app) == "other of code"


def test_a_file_of_a_spec_at_the_top_goes_before_it(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("def fn(): return 'code'", "code/lib/handlers.py")
    script("def fn(): return 'top'", "lib/handlers.py")
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "lib/handlers.py:fn")
    assert ping_of(engine_app) == "top"


def test_the_doctor_says_which_is_used(
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
def test_a_script_can_be_left_out(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    script("raise KeyError")
    script("raise KeyError", "code/model.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", value)
    check_customer_script(read_settings())
    assert examine().script == "none: disabled by CUSTOM_SCRIPT_FILENAME"
    assert ping_of(engine_app) == "engine's ping"


def test_without_a_script_specs_of_files_still_count(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("def fn(): return 'fn'", "model.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", "none")
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "model.py:fn")
    assert ping_of(engine_app) == "fn"


def test_an_error_of_a_script_says_how_to_have_none(
    engine_app: FastAPI, script: Script
) -> None:
    script("raise KeyError('weights')")
    with pytest.raises(HandlerResolutionError, match="CUSTOM_SCRIPT_FILENAME=none"):
        sagemaker.bootstrap(engine_app)


# --- names -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["typer_of_nobody", "queue", "supervisor"])
def test_a_script_takes_no_modules_place(
    engine_app: FastAPI, script: Script, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither in what it imports itself, nor for whatever else is imported later."""
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    script("NAME = 'beside'", "beside_the_script.py")
    source = "import importlib\nfrom beside_the_script import NAME\n"
    if name != "typer_of_nobody":
        source += f"import {name}\nassert not hasattr({name}, 'MARK')\n"
    path = script(f"{source}MARK = 1\ndef ping(): return NAME", f"{name}.py")
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", f"{name}.py")
    assert ping_of(engine_app) == "beside"
    if name != "typer_of_nobody":
        assert sys.modules[name].__file__ != str(path)
