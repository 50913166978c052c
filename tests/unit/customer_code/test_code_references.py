from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures import Script
from model_hosting_container_standards import testing
from model_hosting_container_standards.common.custom_code_ref_resolver import (
    FileLoader,
    FunctionLoader,
    ModuleLoader,
)
from model_hosting_container_standards.exceptions import (
    HandlerFileNotFoundError,
    HandlerNotCallableError,
    HandlerNotFoundError,
    HandlerResolutionError,
    InvalidHandlerSpecError,
    ModuleLoadError,
)

SCRIPT = """
from __future__ import annotations
import dataclasses, enum, typing
import pydantic

answer = 42

@dataclasses.dataclass
class Point:
    x: int
    tags: typing.ClassVar[list[str]] = []

class Inner(pydantic.BaseModel):
    value: int

class Outer(pydantic.BaseModel):
    inner: Inner
    others: list[Inner] = []

class Handlers:
    label = "instance"
    def method(self): return self.label
    @classmethod
    def of_class(cls): return cls.label
    @staticmethod
    def static_method(): return "static"

class NeedsArgument:
    def __init__(self, argument): pass
    def method(self): pass

handlers = Handlers()

def fn(): return "fn"
"""


@pytest.fixture
def loader(model_folder: Path) -> FunctionLoader:
    return FunctionLoader([model_folder])


@pytest.mark.parametrize(
    ("attribute", "result"),
    [
        ("fn", "fn"),
        ("Handlers.method", "instance"),
        ("Handlers.of_class", "instance"),
        ("Handlers.static_method", "static"),
        ("handlers.method", "instance"),
    ],
)
def test_every_form_of_attribute_resolves(
    script: Script, loader: FunctionLoader, attribute: str, result: str
) -> None:
    script(SCRIPT)
    assert loader.load_function(f"model.py:{attribute}")() == result


def test_absolute_file_needs_no_search_path(script: Script) -> None:
    path = script(SCRIPT, "elsewhere/handlers.py")
    assert FunctionLoader().load_function(f"{path}:fn")() == "fn"


def test_module_is_imported_by_name(loader: FunctionLoader) -> None:
    assert loader.load_function("json.decoder:JSONDecoder.decode")("[1]") == [1]


def test_module_alias_resolves_to_module() -> None:
    loader = FunctionLoader(module_aliases={"model": json})
    assert loader.load_function("model:loads") is json.loads


@pytest.mark.parametrize("reference", ["fn", "model.py", "model.py:", ":fn"])
def test_invalid_reference_is_an_error(loader: FunctionLoader, reference: str) -> None:
    with pytest.raises(InvalidHandlerSpecError, match="file.py:function"):
        loader.load_function(reference)


def test_missing_file_is_an_error_with_path_searched(
    loader: FunctionLoader, model_folder: Path
) -> None:
    with pytest.raises(HandlerFileNotFoundError) as raised:
        loader.load_function("nothing.py:fn")
    assert str(model_folder / "nothing.py") in str(raised.value)


def test_folder_named_like_the_script_is_an_error(
    loader: FunctionLoader, model_folder: Path
) -> None:
    (model_folder / "model.py").mkdir()
    with pytest.raises(HandlerFileNotFoundError):
        loader.load_function("model.py:fn")


def test_missing_name_is_an_error_that_suggests_a_similar_name(
    script: Script, loader: FunctionLoader
) -> None:
    path = script(SCRIPT)
    with pytest.raises(HandlerNotFoundError, match="did you mean 'handlers'") as raised:
        loader.load_function("model.py:handler")
    assert str(path) in str(raised.value)
    with pytest.raises(HandlerNotFoundError, match="Handlers has no 'zzz'"):
        loader.load_function("model.py:Handlers.zzz")


def test_object_that_is_not_callable_is_an_error(
    script: Script, loader: FunctionLoader
) -> None:
    script(SCRIPT)
    with pytest.raises(HandlerNotCallableError, match="is a int, not a callable"):
        loader.load_function("model.py:answer")


def test_method_needs_a_class_without_constructor_arguments(
    script: Script, loader: FunctionLoader
) -> None:
    script(SCRIPT)
    with pytest.raises(HandlerNotCallableError, match="NeedsArgument.*'argument'"):
        loader.load_function("model.py:NeedsArgument.method")


def test_exception_in_script_is_the_cause_of_the_error(
    script: Script, loader: FunctionLoader
) -> None:
    path = script("raise RuntimeError('no weights')")
    with pytest.raises(ModuleLoadError, match="RuntimeError.*no weights") as raised:
        loader.load_function("model.py:fn")
    assert str(path) in str(raised.value)
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert "model" not in sys.modules


@pytest.mark.parametrize(
    "source", ["def fn(:", "caf\xe9 = '\xe9'".encode("latin-1"), b"\x00"]
)
def test_file_that_is_not_valid_python_is_a_load_error(
    model_folder: Path, loader: FunctionLoader, source: str | bytes
) -> None:
    raw = source.encode() if isinstance(source, str) else source
    (model_folder / "model.py").write_bytes(raw)
    with pytest.raises(ModuleLoadError, match="SyntaxError|ValueError|UTF-8"):
        loader.load_function("model.py:fn")


def test_file_without_py_suffix_is_an_error(model_folder: Path) -> None:
    (model_folder / "model.txt").write_text("x = 1")
    with pytest.raises(ModuleLoadError, match=r"must end in \.py"):
        FileLoader([model_folder]).load_module("model.txt")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import not_there", "needs the module 'not_there'"),
        ("1 / 0", "ZeroDivisionError while it was imported"),
    ],
)
def test_error_inside_module_differs_from_missing_module(
    script: Script,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    message: str,
) -> None:
    script(source, "broken_module.py")
    monkeypatch.syspath_prepend(str(model_folder))
    with pytest.raises(ModuleLoadError, match=message):
        ModuleLoader().load_module("broken_module")
    with pytest.raises(ModuleLoadError, match="'not_there' does not exist"):
        ModuleLoader().load_module("not_there.at_all")


def test_file_is_executed_once(script: Script, model_folder: Path) -> None:
    script("import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\n")
    files = FileLoader([model_folder])
    first = files.load_module("model.py")
    assert files.load_module(model_folder / "model.py") is first
    assert FileLoader().load_module(model_folder / ".." / "model" / "model.py") is first
    import builtins

    assert builtins.__dict__.pop("runs") == 1


def test_module_that_was_imported_before_is_not_loaded_again(
    script: Script, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("x = object()", "imported_before.py")
    monkeypatch.syspath_prepend(str(model_folder))
    import imported_before  # type: ignore[import-not-found]

    loaded = FileLoader([model_folder]).load_module("imported_before.py")
    assert loaded is imported_before
    del sys.modules["imported_before"]


def test_script_is_a_module_in_sys_modules(
    script: Script, loader: FunctionLoader
) -> None:
    script(SCRIPT)
    module = loader.load_module("model.py")
    assert sys.modules["model"] is module
    point = module.Point(1)
    assert pickle.loads(pickle.dumps(point)) == point
    outer = module.Outer.model_validate({"inner": {"value": "3"}, "others": []})
    assert outer.inner.value == 3


def test_pickles_of_script_load_in_another_process(
    script: Script, loader: FunctionLoader, model_folder: Path
) -> None:
    script(SCRIPT)
    raw = pickle.dumps(loader.load_module("model.py").Point(7))
    code = f"import pickle; print(pickle.loads({raw!r}).x)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=model_folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "7\n"


def test_modules_beside_script_are_importable(
    script: Script, loader: FunctionLoader
) -> None:
    script("VALUE = 'sibling'", "my_sibling.py")
    script("VALUE = 'package'", "my_package/inner.py")
    script(
        "from my_sibling import VALUE as a\nfrom my_package.inner import VALUE as b\n"
        "def fn(): return a + b\n"
    )
    assert loader.load_function("model.py:fn")() == "siblingpackage"
    for name in ("my_sibling", "my_package.inner", "my_package"):
        del sys.modules[name]


def test_script_does_not_replace_a_module_of_its_name(
    script: Script, loader: FunctionLoader
) -> None:
    path = script("def fn(): return 'mine'", "json.py")
    assert loader.load_function("json.py:fn")() == "mine"
    assert sys.modules["json"] is json
    assert loader.load_module(str(path)).__name__.startswith("customer_")


def test_reset_forgets_loaded_files_and_search_paths(
    script: Script, loader: FunctionLoader, model_folder: Path
) -> None:
    script("x = 1")
    loader.load_module("model.py")
    assert str(model_folder) in sys.path
    testing.reset()
    assert "model" not in sys.modules
    assert str(model_folder) not in sys.path
    script("x = 22")
    assert loader.load_module("model.py").x == 22


def test_all_errors_have_one_base_class() -> None:
    for error in (
        HandlerFileNotFoundError,
        HandlerNotCallableError,
        HandlerNotFoundError,
        InvalidHandlerSpecError,
        ModuleLoadError,
    ):
        assert issubclass(error, HandlerResolutionError)


def test_symbolic_link_keeps_its_own_name_and_siblings(
    script: Script, loader: FunctionLoader, model_folder: Path
) -> None:
    blob = script("from linked_sibling import VALUE\ndef fn(): return VALUE", "b/0123")
    script("VALUE = 'sibling'", "snapshot/linked_sibling.py")
    link = model_folder / "snapshot" / "model.py"
    link.symlink_to(blob)
    assert loader.load_function("snapshot/model.py:fn")() == "sibling"
    assert loader.load_module("snapshot/model.py").__name__ == "model"


def test_file_that_was_imported_by_another_name_is_not_loaded_again(
    script: Script, loader: FunctionLoader
) -> None:
    script("state = object()", "a_package/handlers.py")
    script("from a_package import handlers\nstate = handlers.state\n")
    state = loader.load_module("model.py").state
    assert loader.load_module("a_package/handlers.py").state is state


def test_main_script_is_not_loaded_again(model_folder: Path) -> None:
    path = model_folder / "model.py"
    path.write_text(
        "from model_hosting_container_standards.common import "
        "custom_code_ref_resolver as r\n"
        "import sys\n"
        "module = r.FileLoader().load_module(__file__)\n"
        "print(module is sys.modules['__main__'])\n"
    )
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_constructor_that_raises_is_an_error_with_its_cause(
    script: Script, loader: FunctionLoader
) -> None:
    script("class H:\n def __init__(self): 1 / 0\n def fn(self): pass\n")
    with pytest.raises(HandlerNotCallableError, match="ZeroDivisionError") as raised:
        loader.load_function("model.py:H.fn")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_class_without_signature_can_be_instantiated(
    script: Script, loader: FunctionLoader
) -> None:
    script("class H(dict):\n def fn(self): return len(self)\n")
    assert loader.load_function("model.py:H.fn")() == 0
