from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mhcs.vllm import engine
from model_hosting_container_standards import testing
from model_hosting_container_standards.common.custom_code_ref_resolver import (
    FunctionLoader,
)
from model_hosting_container_standards.common.custom_code_ref_resolver.moved_names import (  # noqa: E501
    install_moved_names,
)

MOVED = {
    "engine_x.protocol:Request": ["engine_x.gone", "engine_x.new.protocol:Request"],
    "engine_x.protocol:Lost": ["engine_x.new.protocol:Lost", "engine_x.nowhere:Lost"],
    "engine_x.server:health": ["engine_x.new.health:health"],
    "engine_x.server:start": ["engine_x.new.health:health"],
}
FILES = {
    "__init__.py": "",
    "server.py": "def start(): return 'server'\n",
    "new/__init__.py": "",
    "new/protocol.py": "class Request: pass\n",
    "new/health.py": "def health(): return 'healthy'\n",
    "polite.py": "def __getattr__(name):\n    return f'polite {name}'\n",
}


@pytest.fixture(autouse=True)
def engine_x(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine whose names have moved."""
    for name, source in FILES.items():
        path = tmp_path / "site" / "engine_x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    testing.reset()
    for name in [name for name in sys.modules if name.startswith("engine_x")]:
        del sys.modules[name]


def test_a_name_of_a_module_that_is_gone_is_found_where_it_is_now() -> None:
    install_moved_names(MOVED)
    from engine_x.new.protocol import Request as New  # type: ignore[import-not-found]
    from engine_x.protocol import Request  # type: ignore[import-not-found]

    assert Request is New


@pytest.mark.parametrize("imported_before", [True, False])
def test_a_name_that_a_module_has_lost_is_found_where_it_is_now(
    imported_before: bool,
) -> None:
    if imported_before:
        importlib.import_module("engine_x.server")
    install_moved_names(MOVED)
    health = FunctionLoader().load_function("engine_x.server:health")
    assert health() == "healthy"


def test_a_name_that_still_exists_is_not_replaced() -> None:
    install_moved_names(MOVED)
    assert FunctionLoader().load_function("engine_x.server:start")() == "server"


def test_a_name_that_never_existed_is_an_import_error() -> None:
    install_moved_names(MOVED)
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from engine_x.protocol import Nothing  # noqa: F401


def test_a_name_that_is_nowhere_says_where_it_was_looked_for() -> None:
    install_moved_names(MOVED)
    module = importlib.import_module("engine_x.protocol")
    with pytest.raises(AttributeError, match=r"engine_x\.nowhere:Lost"):
        _ = module.Lost


def test_a_module_with_an_answer_of_its_own_keeps_it() -> None:
    install_moved_names({"engine_x.polite:moved": ["engine_x.new.health:health"]})
    polite = importlib.import_module("engine_x.polite")
    assert polite.moved() == "healthy"
    assert polite.other == "polite other"


def test_modules_that_are_not_in_the_table_stay_missing() -> None:
    install_moved_names(MOVED)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("engine_x.unknown")


def test_reset_forgets_moved_names() -> None:
    install_moved_names(MOVED)
    importlib.import_module("engine_x.protocol")
    testing.reset()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("engine_x.protocol")


def test_vllms_table_never_sends_a_name_to_where_it_came_from() -> None:
    for old, targets in engine.moved_names.items():
        assert targets
        assert old not in targets
        assert old.startswith("vllm.entrypoints.openai.")
