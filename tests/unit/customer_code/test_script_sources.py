"""Scripts that were written for another server, or in another way."""

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

#: How a script is looked at: before the start, at the start.
WAYS = [check_customer_script, load_customer_script]
Look = Callable[..., object]

TOOLKIT = "SageMaker's inference toolkit"

#: Each script, the words of its error, and the server that it was written for.
IMPORTS = {
    "djl": ("from djl_python import Input, Output", "imports djl_python", "DJL"),
    "lazily": (
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
#: The same of scripts that must be run to be known.
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


@pytest.mark.parametrize("look", WAYS)
@pytest.mark.parametrize("name", IMPORTS)
def test_a_script_of_another_server_is_named(
    script: Script, name: str, look: Look
) -> None:
    source, does, server = IMPORTS[name]
    path = script(f"{source}\nopen(__file__ + '.run', 'w').close()\n")
    with pytest.raises(ModuleLoadError) as raised:
        look(read_settings())
    error = str(raised.value)
    assert str(path) in error
    assert does in error
    assert f"a script for {server}" in error
    assert "ping and invoke" in error
    assert "CUSTOM_SCRIPT_FILENAME=none" in error
    # Nothing of it has been run.
    assert [file.name for file in path.parent.iterdir()] == ["model.py"]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_one_that_imports_no_server_is_named_once_it_has_run(
    script: Script, name: str
) -> None:
    source, does, server = DEFINITIONS[name]
    path = script(source)
    check_customer_script(read_settings())
    with pytest.raises(ModuleLoadError) as raised:
        load_customer_script(read_settings())
    error = str(raised.value)
    assert str(path) in error
    assert does in error
    assert f"a script for {server}" in error
    assert "CUSTOM_SCRIPT_FILENAME=none" in error


def test_handlers_may_be_an_installed_packages(
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
@pytest.mark.parametrize("look", WAYS)
def test_names_are_found_however_they_are_bound(
    script: Script, source: str, look: Look
) -> None:
    script(f"try:\n    import ts\nexcept ImportError:\n    pass\n{source}")
    look(read_settings())


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


@pytest.mark.parametrize("look", WAYS)
@pytest.mark.parametrize("ours", OURS)
def test_a_script_may_be_for_two_servers(script: Script, ours: str, look: Look) -> None:
    """What is imported from beside it may have anything: it is not looked at."""
    script("", "beside.py")
    script("", "package/inner.py")
    foreign = "try:\n    import djl_python\nexcept ImportError:\n    pass"
    script(f"{foreign}\n{ours}\ndef model_fn(model_dir): 1\n")
    look(read_settings())


@pytest.mark.parametrize("look", WAYS)
@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("CUSTOM_FASTAPI_INVOCATION_HANDLER", "model.py:predict_fn"),
        ("CUSTOM_FASTAPI_INVOCATION_HANDLER", "{folder}/model.py:predict_fn"),
        ("CUSTOM_PRE_PROCESS", "model:predict_fn"),
    ],
)
def test_a_spec_may_lead_to_it(
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    spec: str,
    look: Look,
) -> None:
    path = script("def predict_fn(request): 1")
    monkeypatch.setenv(name, spec.format(folder=path.parent))
    look(read_settings())


@pytest.mark.parametrize("look", WAYS)
def test_what_has_nothing_of_any_server_is_run(script: Script, look: Look) -> None:
    script("import logging\nclass Net:\n    def model_fn(self): 1")
    look(read_settings())


def test_a_module_of_another_server_may_be_there(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed, beside the script, or made by hand."""
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
def test_a_module_of_another_server_may_be_a_requirement(
    script: Script, model_folder: Path, folder: str
) -> None:
    """It is not installed yet when the script is checked before the start."""
    script("import kserve\ndef ping(): 1")
    (model_folder / folder).mkdir(exist_ok=True)
    (model_folder / folder / "requirements.txt").write_text("kserve")
    check_customer_script(read_settings())
    with pytest.raises(ModuleLoadError, match="a script for KServe"):
        load_customer_script(read_settings())


def test_a_module_of_another_server_may_be_missing_elsewhere(script: Script) -> None:
    script("import djl_python", "beside.py")
    script("import beside\ndef ping(): 1")
    with pytest.raises(ModuleLoadError, match="a script for DJL Serving") as raised:
        load_customer_script(read_settings())
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_the_doctor_names_it(script: Script) -> None:
    script("def model_fn(model_dir): 1")
    assert any(TOOLKIT in problem for problem in examine().problems)


# --- relative imports --------------------------------------------------------------


@pytest.mark.parametrize("look", WAYS)
@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("from .utils import a, b as c", "'from utils import a, b as c'"),
        ("from . import utils", "'import utils'"),
        ("from ..lib.utils import *", "'from lib.utils import *'"),
    ],
)
def test_a_relative_import_is_advised_against(
    script: Script, source: str, advice: str, look: Look
) -> None:
    path = script(f"'''A script.'''\n{source}\n")
    with pytest.raises(ModuleLoadError) as raised:
        look(read_settings())
    assert f"{path}:2: {source!r} is a relative import" in str(raised.value)
    assert f"write {advice}" in str(raised.value)


def test_so_is_one_that_is_found_when_it_is_run(script: Script) -> None:
    script("from .other import x", "beside.py")
    script("import beside")
    with pytest.raises(ModuleLoadError, match="by its plain name"):
        load_customer_script(read_settings())


def test_one_with_a_way_out_is_none(script: Script) -> None:
    script("VALUE = 1", "utils.py")
    script(
        "try:\n    from .utils import VALUE\n"
        "except ImportError:\n    from utils import VALUE"
    )
    module = load_customer_script(read_settings())
    assert module is not None
    assert module.VALUE == 1


def test_a_package_may_have_them(script: Script) -> None:
    script("from .inner import VALUE", "package/__init__.py")
    script("VALUE = 1", "package/inner.py")
    script("from package import VALUE\ndef ping(): return VALUE")
    assert client_of(FastAPI()).get("/ping").json() == 1


# --- servers of its own ------------------------------------------------------------


@pytest.mark.parametrize("look", WAYS)
@pytest.mark.parametrize(
    ("source", "called"),
    [
        ("import uvicorn\nuvicorn.run('model:app', port=8080)", "uvicorn.run"),
        ("from flask import Flask\napp = Flask('x')\napp.run()", "app.run"),
    ],
)
def test_a_script_that_would_never_return_is_an_error(
    script: Script, source: str, called: str, look: Look
) -> None:
    path = script(f"def ping(): 1\n{source}\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(ModuleLoadError) as raised:
        look(read_settings())
    assert f"{path}:{line}: {called} would start a server" in str(raised.value)
    assert "__main__" in str(raised.value)


@pytest.mark.parametrize("look", WAYS)
def test_one_that_serves_as_a_program_is_none(script: Script, look: Look) -> None:
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
    look(read_settings())


# --- encodings ---------------------------------------------------------------------


@pytest.mark.parametrize("look", WAYS)
@pytest.mark.parametrize(
    "raw",
    [
        "# é\n".encode("latin-1"),
        "# é\n".encode("utf-16"),
        b"# -*- coding: no-such-encoding -*-\n",
    ],
    ids=["latin-1", "utf-16", "unknown"],
)
def test_a_script_that_is_not_utf_8_is_an_error(
    model_folder: Path, raw: bytes, look: Look
) -> None:
    (model_folder / "model.py").write_bytes(raw)
    with pytest.raises(
        ModuleLoadError, match=r"model\.py cannot .* not UTF-8 .* Save it as"
    ):
        look(read_settings())


@pytest.mark.parametrize(
    "raw",
    [
        b"# -*- coding: latin-1 -*-\nVALUE = '\xe9'\n",
        b"\xef\xbb\xbfVALUE = '\xc3\xa9'\r\n",
    ],
    ids=["declared", "with a mark"],
)
def test_what_python_reads_is_read(model_folder: Path, raw: bytes) -> None:
    (model_folder / "model.py").write_bytes(raw)
    module = load_customer_script(read_settings())
    assert module is not None
    assert module.VALUE == "é"


@pytest.mark.parametrize(
    "source", ["def ping(:", "return 1", "x = '\0'", f"{'(' * 1000}{')' * 1000}"]
)
@pytest.mark.parametrize("look", WAYS)
def test_what_is_no_python_is_an_error(script: Script, source: str, look: Look) -> None:
    script(source)
    with pytest.raises(ModuleLoadError, match=r"model\.py cannot be loaded"):
        look(read_settings())


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """The memory of a process has no first byte, but is a file, to the kernel."""
    link = tmp_path / "model.py"
    link.symlink_to("/proc/self/mem")
    with pytest.raises(ModuleLoadError, match="cannot be read"):
        check_source(link)


def test_what_has_no_source_is_not_looked_at(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script("def ping(): return 'compiled'")
    compiled = py_compile.compile(str(path), str(path.with_suffix(".pyc")))
    monkeypatch.setenv("CUSTOM_SCRIPT_FILENAME", str(compiled))
    check_customer_script(read_settings())
    module = load_customer_script(read_settings())
    assert module is not None
    assert module.ping() == "compiled"


def test_bootstrap_says_the_same(engine_app: FastAPI, script: Script) -> None:
    script("from djl_python import Input")
    with pytest.raises(ModuleLoadError, match="a script for DJL Serving"):
        sagemaker.bootstrap(engine_app)
