"""Checks of a script's source: other servers, imports, encodings."""

from __future__ import annotations

import py_compile
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Script, client_of
from mhcs.doctor import examine
from model_hosting_container_standards.customer_code.script_source import check_source
from model_hosting_container_standards.exceptions import ModuleLoadError
from model_hosting_container_standards.handlers.customer_handler import (
    check_customer_script,
    load_customer_script,
)
from model_hosting_container_standards.settings import read_settings

#: Checks of a script: before the server starts, and while it starts.
CHECKS = [check_customer_script, load_customer_script]
Check = Callable[..., object]

TOOLKIT = "SageMaker's inference toolkit"

#: Each script, its error's text, and the server that it is written for.
IMPORTS = {
    "djl": ("from djl_python import Input, Output", "imports djl_python", "DJL"),
    "in a function": (
        "def handle(inputs):\n    from djl_python import Output",
        "imports djl_python",
        "DJL",
    ),
    "optionally": (
        "try:\n    import djl_python\nexcept ImportError:\n    djl_python = None",
        "imports djl_python",
        "DJL",
    ),
    "triton": (
        "import json\nimport triton_python_backend_utils as pb_utils",
        "imports triton_python_backend_utils",
        "Triton",
    ),
    "a toolkit": (
        "from sagemaker_inference import content_types",
        "imports sagemaker_inference",
        TOOLKIT,
    ),
    "torchserve": (
        "from ts.torch_handler.base_handler import BaseHandler",
        "imports ts",
        "TorchServe",
    ),
}
#: The same for scripts that are recognised only once they have run.
DEFINITIONS = {
    "triton's class": (
        "class TritonPythonModel:\n    pass",
        "defines TritonPythonModel",
        "Triton",
    ),
    "model_fn": ("def model_fn(model_dir): 1", "defines model_fn", TOOLKIT),
    "predict_fn": ("def predict_fn(data, model): 1", "defines predict_fn", TOOLKIT),
    "async": ("async def input_fn(body): 1", "defines input_fn", TOOLKIT),
    "assigned": ("output_fn = print", "defines output_fn", TOOLKIT),
    "conditional": (
        "if True:\n    def transform_fn(m, b): 1",
        "defines transform_fn",
        TOOLKIT,
    ),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", IMPORTS)
def test_script_that_imports_another_server_is_an_error(
    script: Script, name: str, check: Check
) -> None:
    source, reason, server = IMPORTS[name]
    path = script(f"{source}\nopen(__file__ + '.run', 'w').close()\n")
    with pytest.raises(ModuleLoadError) as raised:
        check(read_settings())
    error = str(raised.value)
    assert str(path) in error
    assert reason in error
    assert f"a script for {server}" in error
    assert "ping and invoke" in error
    assert "CUSTOM_SCRIPT_FILENAME=none" in error
    # The script has not run.
    assert [file.name for file in path.parent.iterdir()] == ["model.py"]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_script_that_defines_names_of_another_server_is_an_error_at_start(
    script: Script, name: str
) -> None:
    source, reason, server = DEFINITIONS[name]
    path = script(source)
    check_customer_script(read_settings())
    with pytest.raises(ModuleLoadError) as raised:
        load_customer_script(read_settings())
    error = str(raised.value)
    assert str(path) in error
    assert reason in error
    assert f"a script for {server}" in error
    assert "CUSTOM_SCRIPT_FILENAME=none" in error


def test_handlers_of_installed_package_are_accepted(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    decorated = (
        "from model_hosting_container_standards import sagemaker\n"
        "@sagemaker.invoke\ndef answer(): return 'acme'"
    )
    monkeypatch.syspath_prepend(str(script(decorated, "site/acme.py").parent))
    script("import acme\ndef input_fn(body): 1")
    assert client_of(FastAPI()).post("/invocations").json() == "acme"


@pytest.mark.parametrize(
    "source",
    [
        "ping, invoke = print, print",
        "[_, (ping, invoke)] = 1, (print, print)",
        "match 1:\n    case _:\n        def ping(): 1",
    ],
)
@pytest.mark.parametrize("check", CHECKS)
def test_handler_names_are_found_in_every_binding_form(
    script: Script, source: str, check: Check
) -> None:
    script(f"try:\n    import ts\nexcept ImportError:\n    pass\n{source}")
    check(read_settings())


OURS = [
    "def ping(): 1",
    "async def invoke(): 1",
    "from functools import partial\ncustom_sagemaker_ping_handler = partial(print)",
    "from json import loads as custom_sagemaker_invocation_handler",
    "import typing\nping: typing.Any = print",
    "from model_hosting_container_standards import sagemaker",
    "import model_hosting_container_standards.sagemaker as sagemaker",
    "import beside",
    "from package.inner import *",
    "from json import *",
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("ours", OURS)
def test_script_for_two_servers_is_accepted(
    script: Script, ours: str, check: Check
) -> None:
    """A module beside the script may define handlers: its source is not checked."""
    script("", "beside.py")
    script("", "package/inner.py")
    foreign = "try:\n    import djl_python\nexcept ImportError:\n    pass"
    script(f"{foreign}\n{ours}\ndef model_fn(model_dir): 1\n")
    check(read_settings())


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("CUSTOM_FASTAPI_INVOCATION_HANDLER", "model.py:predict_fn"),
        ("CUSTOM_FASTAPI_INVOCATION_HANDLER", "{folder}/model.py:predict_fn"),
        ("CUSTOM_PRE_PROCESS", "model:predict_fn"),
    ],
)
def test_script_that_a_spec_names_is_accepted(
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    spec: str,
    check: Check,
) -> None:
    path = script("def predict_fn(request): 1")
    monkeypatch.setenv(name, spec.format(folder=path.parent))
    check(read_settings())


@pytest.mark.parametrize("check", CHECKS)
def test_script_without_handlers_of_any_server_is_accepted(
    script: Script, check: Check
) -> None:
    script("import logging\nclass Net:\n    def model_fn(self): 1")
    check(read_settings())


def test_importable_modules_of_other_servers_are_accepted(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The modules are installed, beside the script, or created at run time."""
    script("VALUE = 1", "site/mlserver.py")
    monkeypatch.syspath_prepend(str(script("", "site/x.py").parent))
    script("VALUE = 2", "kserve.py")
    monkeypatch.setitem(sys.modules, "bentoml", type(sys)("bentoml"))
    monkeypatch.setattr(sys.modules["bentoml"], "__spec__", None)
    script(
        "import mlserver, kserve, bentoml\n"
        "def ping(): return mlserver.VALUE + kserve.VALUE\n"
    )
    module = load_customer_script(read_settings())
    assert module is not None
    assert module.ping() == 3


@pytest.mark.parametrize("folder", [".", "code"])
def test_requirement_on_another_server_fails_only_at_start(
    script: Script, model_folder: Path, folder: str
) -> None:
    """Requirements are not installed yet when the script is first checked."""
    script("import kserve\ndef ping(): 1")
    (model_folder / folder).mkdir(exist_ok=True)
    (model_folder / folder / "requirements.txt").write_text("kserve")
    check_customer_script(read_settings())
    with pytest.raises(ModuleLoadError, match="a script for KServe"):
        load_customer_script(read_settings())


def test_import_of_another_server_beside_script_is_an_error(
    script: Script,
) -> None:
    script("import djl_python", "beside.py")
    script("import beside\ndef ping(): 1")
    with pytest.raises(ModuleLoadError, match="a script for DJL Serving") as raised:
        load_customer_script(read_settings())
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_doctor_reports_script_for_another_server(script: Script) -> None:
    script("def model_fn(model_dir): 1")
    assert any(TOOLKIT in problem for problem in examine().problems)


# --- relative imports --------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("from .utils import a, b as c", "'from utils import a, b as c'"),
        ("from . import utils", "'import utils'"),
        ("from ..lib.utils import *", "'from lib.utils import *'"),
    ],
)
def test_relative_import_is_an_error_with_its_absolute_form(
    script: Script, source: str, advice: str, check: Check
) -> None:
    path = script(f"'''A script.'''\n{source}\n")
    with pytest.raises(ModuleLoadError) as raised:
        check(read_settings())
    assert f"{path}:2: {source!r} is a relative import" in str(raised.value)
    assert f"write {advice}" in str(raised.value)


def test_relative_import_beside_script_is_an_error(script: Script) -> None:
    script("from .other import x", "beside.py")
    script("import beside")
    with pytest.raises(ModuleLoadError, match="by its plain name"):
        load_customer_script(read_settings())


def test_relative_import_with_fallback_is_accepted(script: Script) -> None:
    script("VALUE = 1", "utils.py")
    script(
        "try:\n    from .utils import VALUE\n"
        "except ImportError:\n    from utils import VALUE"
    )
    module = load_customer_script(read_settings())
    assert module is not None
    assert module.VALUE == 1


def test_relative_imports_of_package_are_accepted(script: Script) -> None:
    script("from .inner import VALUE", "package/__init__.py")
    script("VALUE = 1", "package/inner.py")
    script("from package import VALUE\ndef ping(): return VALUE")
    assert client_of(FastAPI()).get("/ping").json() == 1


# --- scripts that start a server ---------------------------------------------------


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("source", "called"),
    [
        ("import uvicorn\nuvicorn.run('model:app', port=8080)", "uvicorn.run"),
        ("from flask import Flask\napp = Flask('x')\napp.run()", "app.run"),
    ],
)
def test_script_that_starts_a_server_is_an_error(
    script: Script, source: str, called: str, check: Check
) -> None:
    path = script(f"def ping(): 1\n{source}\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(ModuleLoadError) as raised:
        check(read_settings())
    assert f"{path}:{line}: {called} would start a server" in str(raised.value)
    assert "__main__" in str(raised.value)


@pytest.mark.parametrize("check", CHECKS)
def test_script_that_starts_a_server_only_as_main_is_accepted(
    script: Script, check: Check
) -> None:
    script(
        textwrap.dedent(
            """
            import subprocess
            from fastapi import FastAPI
            app = FastAPI()
            subprocess.run(["true"])
            def ping(): 1
            if __name__ == "__main__":
                import uvicorn
                uvicorn.run(app)
            """
        )
    )
    check(read_settings())


# --- encodings ---------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "raw",
    [
        "# é\n".encode("latin-1"),
        "# é\n".encode("utf-16"),
        b"# -*- coding: no-such-encoding -*-\n",
    ],
    ids=["latin-1", "utf-16", "unknown"],
)
def test_script_that_is_not_utf_8_is_an_error(
    model_folder: Path, raw: bytes, check: Check
) -> None:
    (model_folder / "model.py").write_bytes(raw)
    with pytest.raises(
        ModuleLoadError, match=r"model\.py cannot .* not UTF-8 .* Save it as"
    ):
        check(read_settings())


@pytest.mark.parametrize(
    "raw",
    [
        b"# -*- coding: latin-1 -*-\nVALUE = '\xe9'\n",
        b"\xef\xbb\xbfVALUE = '\xc3\xa9'\r\n",
    ],
    ids=["declared", "byte order mark"],
)
def test_every_encoding_that_python_reads_is_accepted(
    model_folder: Path, raw: bytes
) -> None:
    (model_folder / "model.py").write_bytes(raw)
    module = load_customer_script(read_settings())
    assert module is not None
    assert module.VALUE == "é"


@pytest.mark.parametrize(
    "source", ["def ping(:", "return 1", "x = '\0'", f"{'(' * 1000}{')' * 1000}"]
)
@pytest.mark.parametrize("check", CHECKS)
def test_script_that_is_not_valid_python_is_an_error(
    script: Script, source: str, check: Check
) -> None:
    script(source)
    with pytest.raises(ModuleLoadError, match=r"model\.py cannot be loaded"):
        check(read_settings())


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """/proc/self/mem is a regular file whose first byte cannot be read."""
    link = tmp_path / "model.py"
    link.symlink_to("/proc/self/mem")
    with pytest.raises(ModuleLoadError, match="cannot be read"):
        check_source(link)


def test_compiled_script_is_not_checked(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script("def ping(): return 'compiled'")
    compiled = py_compile.compile(str(path), str(path.with_suffix(".pyc")))
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", str(compiled))
    check_customer_script(read_settings())
    module = load_customer_script(read_settings())
    assert module is not None
    assert module.ping() == "compiled"


def test_bootstrap_raises_the_same_error(engine_app: FastAPI, script: Script) -> None:
    script("from djl_python import Input")
    with pytest.raises(ModuleLoadError, match="a script for DJL Serving"):
        sagemaker.bootstrap(engine_app)
