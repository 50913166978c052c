from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_hosting_container_standards import testing
from model_hosting_container_standards.common.custom_code_ref_resolver import (
    FunctionLoader,
)
from model_hosting_container_standards.customer_code.moved_names import (
    Move,
    install_moved_names,
)
from model_hosting_container_standards.exceptions import HandlerNotFoundError
from servers import run_until_exit

#: Names of release 1 and where releases 2 and 3 moved them. Release 3 is installed.
MOVED = {
    "engine_x.protocol": [
        Move(["Request"], "1", "engine_x.new.protocol"),
        Move(["Twice"], "1", "engine_x.middle"),
        Move(["OldName"], "1", "engine_x.new.protocol:NewName"),
        Move(["Deleted"], "1", instead="engine_x.new.protocol:Request"),
        Move(["DeletedLater"], "1", "engine_x.middle"),
        Move(["Unknown"], "1", "engine_x.new.protocol"),
        Move(["Broken"], "1", "engine_x.broken"),
        Move(["NeedsMore"], "1", "engine_x.needs_more"),
    ],
    "engine_x.middle": [
        Move(["DeletedLater"], "2"),
        Move(["Twice"], "2", "engine_x.new.protocol"),
    ],
    "engine_x.server": [
        Move(["health", "start"], "1", "engine_x.new.health"),
        Move(["stop"], "1"),
    ],
    "engine_x.dynamic": [Move(["moved", "own"], "1", "engine_x.new.health:health")],
    "engine_x.parsers": [Move(["Parser"], "1", "engine_x.new.parsers")],
    "engine_x.parsers.json": [Move(["JSONParser"], "2", "engine_x.new.parsers")],
    "engine_x.deleted": [Move(["one"], "1"), Move(["other"], "2")],
}
FILES = {
    "__init__.py": "",
    "server.py": "def start(): return 'server'\n",
    "new/__init__.py": "",
    "new/protocol.py": "class Request: pass\nclass Twice: pass\nclass NewName: pass\n",
    "new/health.py": "def health(): return 'healthy'\n",
    "new/parsers.py": "class Parser: pass\nclass JSONParser(Parser): pass\n",
    "dynamic.py": """
def __getattr__(name):
    if name == "moved":
        raise AttributeError(name)
    return f"dynamic {name}"
""",
    "broken.py": "raise ImportError('no GPU here')\n",
    "needs_more.py": "import no_such_module\n",
}


@pytest.fixture(autouse=True)
def engine_x(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install an engine whose names have moved."""
    site = tmp_path / "site"
    for name, source in FILES.items():
        path = site / "engine_x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(str(site))
    install_moved_names(MOVED)
    yield site
    testing.reset()
    for name in [name for name in sys.modules if name.startswith("engine_x")]:
        del sys.modules[name]


def load(name: str) -> Any:
    return importlib.import_module(f"engine_x.{name}")


# --- resolved ----------------------------------------------------------------------


def test_name_in_removed_module_resolves_to_its_new_place() -> None:
    from engine_x.new.protocol import Request as New  # type: ignore[import-not-found]
    from engine_x.protocol import Request  # type: ignore[import-not-found]

    assert Request is New


def test_attribute_of_removed_module_resolves_to_its_new_place() -> None:
    import engine_x.protocol as p  # type: ignore[import-not-found]

    assert p.Request is load("new.protocol").Request


@pytest.mark.parametrize("imported_before", [True, False])
def test_name_removed_from_module_resolves_to_its_new_place(
    imported_before: bool,
) -> None:
    testing.reset()
    if imported_before:
        load("server")
    install_moved_names(MOVED)
    health = FunctionLoader().load_function("engine_x.server:health")
    assert health() == "healthy"


def test_name_that_moved_twice_resolves_through_both_moves() -> None:
    assert load("protocol").Twice is load("new.protocol").Twice


def test_name_that_moved_twice_resolves_after_first_move(engine_x: Path) -> None:
    """In release 2 the second move has not happened yet."""
    (engine_x / "engine_x" / "middle.py").write_text("class Twice: pass\n")
    importlib.invalidate_caches()
    assert load("protocol").Twice is load("middle").Twice


def test_renamed_name_resolves() -> None:
    assert load("protocol").OldName is load("new.protocol").NewName


def test_names_of_removed_package_and_its_modules_resolve() -> None:
    import engine_x.parsers  # type: ignore[import-not-found]
    import engine_x.parsers.json  # type: ignore[import-not-found]

    new = load("new.parsers")
    assert engine_x.parsers.Parser is new.Parser
    assert engine_x.parsers.json.JSONParser is new.JSONParser


def test_star_import_of_removed_module_brings_its_resolvable_names() -> None:
    names: dict[str, Any] = {}
    exec("from engine_x.protocol import *", names)
    assert names.keys() - {"__builtins__"} == {"Request", "Twice", "OldName"}


def test_moved_class_keeps_its_identity() -> None:
    Request = load("protocol").Request  # noqa: N806
    instance = load("new.protocol").Request()
    assert isinstance(instance, Request)
    assert isinstance(pickle.loads(pickle.dumps(Request())), Request)
    pickled_by_old_name = b"cengine_x.protocol\nRequest\n."
    assert pickle.loads(pickled_by_old_name) is Request


def test_moved_names_cause_no_warnings(engine_x: Path) -> None:
    moved = {"engine_x.protocol": [("Request", "engine_x.new.protocol")]}
    program = f"""
import sys
sys.path.insert(0, {str(engine_x)!r})
from {install_moved_names.__module__} import Move, install_moved_names
install_moved_names({{
    module: [Move([name], "1", place) for name, place in moves]
    for module, moves in {moved!r}.items()
}})
from engine_x.protocol import *
from engine_x.protocol import Request
import engine_x.protocol as p
assert p.Request is Request
"""
    end = run_until_exit([sys.executable, "-W", "error", "-c", program])
    assert (end.status, end.stderr) == (0, "")


# --- left alone --------------------------------------------------------------------


def test_name_that_still_exists_is_not_replaced() -> None:
    assert FunctionLoader().load_function("engine_x.server:start")() == "server"


def test_module_getattr_takes_precedence() -> None:
    dynamic = load("dynamic")
    assert dynamic.moved() == "healthy"
    assert dynamic.own == "dynamic own"
    assert dynamic.other == "dynamic other"


def test_modules_outside_table_stay_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'engine_x.unknown'"):
        load("unknown")


def test_engine_that_is_not_installed_stays_missing() -> None:
    install_moved_names({"engine_z.gone": [Move(["Name"], "1", "engine_z.new")]})
    for name in ("engine_z", "engine_z.gone"):
        with pytest.raises(ModuleNotFoundError, match="No module named 'engine_z'"):
            importlib.import_module(name)


def test_reset_forgets_moved_names() -> None:
    load("protocol")
    testing.reset()
    with pytest.raises(ModuleNotFoundError):
        load("protocol")
    with pytest.raises(AttributeError, match="no attribute 'health'"):
        _ = load("server").health


# --- not resolved ------------------------------------------------------------------


def test_name_that_never_existed_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from engine_x.protocol import Nothing  # noqa: F401


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "from engine_x.protocol import Deleted",
            "engine_x.protocol:Deleted was removed: 1 is the last release with it. "
            "Use engine_x.new.protocol:Request instead.",
        ),
        (
            "from engine_x.protocol import DeletedLater",
            "engine_x.protocol:DeletedLater was removed: 2 is the last release with "
            "it.",
        ),
        (
            "from engine_x.server import stop",
            "engine_x.server:stop was removed: 1 is the last release with it.",
        ),
        (
            "from engine_x.protocol import Unknown",
            "engine_x.protocol:Unknown moved to engine_x.new.protocol:Unknown after "
            "release 1, and is not there either.",
        ),
        (
            "from engine_x.deleted import one",
            "engine_x.deleted was removed: 2 is the last release with it.",
        ),
        (
            "from engine_x.protocol import Broken",
            "engine_x.protocol:Broken moved to engine_x.broken, which cannot be "
            "imported: no GPU here",
        ),
        (
            "from engine_x.protocol import NeedsMore",
            "engine_x.protocol:NeedsMore moved to engine_x.needs_more, which cannot "
            "be imported: No module named 'no_such_module'",
        ),
    ],
)
def test_import_error_says_what_happened_to_name(statement: str, message: str) -> None:
    with pytest.raises(ImportError) as raised:
        exec(statement)
    assert str(raised.value) == message


def test_removed_attribute_raises_attribute_error() -> None:
    protocol = load("protocol")
    assert not hasattr(protocol, "Deleted")
    assert getattr(protocol, "Deleted", None) is None
    with pytest.raises(AttributeError, match="was removed: 1 is the last release with"):
        _ = protocol.Deleted


def test_reference_to_removed_name_is_an_error_that_says_so() -> None:
    with pytest.raises(HandlerNotFoundError) as raised:
        FunctionLoader().load_function("engine_x.server:stop")
    assert str(raised.value) == (
        "engine_x.server:stop was removed: 1 is the last release with it."
    )


def test_script_that_imports_a_removed_name_is_an_error_that_says_so(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script_of_release_1.py"
    script.write_text("from engine_x.server import stop\n")
    with pytest.raises(
        Exception, match="script_of_release_1.py raised ImportError"
    ) as (raised):
        FunctionLoader().load_function(f"{script}:stop")
    assert "engine_x.server:stop was removed" in str(raised.value)
