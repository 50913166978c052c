"""Names that an engine moved keep working under the path they had.

Scripts outlive engine releases: ``from engine.protocol import Request`` must go on
working when ``Request`` lives in ``engine.completion.protocol`` now. Nothing inside the
engine is edited: a module that is gone is answered for by an import finder that is
asked last, and one that merely lost names gets a module ``__getattr__`` once it is
imported.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

_moved: dict[str, dict[str, Sequence[str]]] = {}


def install_moved_names(moved: Mapping[str, Sequence[str]]) -> None:
    """Make old names resolve to where they are now.

    ``moved`` maps ``"old.module:Name"`` to the references that may hold it today, asked
    in order. Names that still exist are never replaced.
    """
    import wrapt

    for reference, targets in moved.items():
        module, _, name = reference.partition(":")
        if module not in _moved:
            _moved[module] = {}
            wrapt.register_post_import_hook(_answer_moved_names, module)
        _moved[module][name] = targets
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


def reset_moved_names() -> None:
    """Forget every moved name."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__dict__", {}).get("__loader__") is _finder:
            del sys.modules[name]
    _moved.clear()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


class _GoneModuleFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of the table, and their packages, that nobody else knows."""

    def find_spec(
        self, fullname: str, _path: Any = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        is_package = any(name.startswith(f"{fullname}.") for name in _moved)
        if fullname not in _moved and not is_package:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module empty: its ``__getattr__`` comes with the import hook."""


_finder = _GoneModuleFinder()


def _answer_moved_names(module: ModuleType) -> None:
    """Give ``module`` a ``__getattr__`` that knows what it has lost."""
    own: Callable[[str], Any] | None = vars(module).get("__getattr__")
    name = module.__name__

    def find_attribute(attribute: str) -> Any:
        targets = _moved.get(name, {}).get(attribute)
        if targets is not None:
            return _load_first(f"{name}:{attribute}", targets)
        if own is not None:
            return own(attribute)
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}")

    vars(module)["__getattr__"] = find_attribute


def _load_first(reference: str, targets: Sequence[str]) -> Any:
    for target in targets:
        module, _, name = target.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise AttributeError(f"{reference} has moved, and is in none of {list(targets)}.")
