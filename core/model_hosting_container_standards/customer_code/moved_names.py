"""Keeps names importable from the module that an engine moved them out of.

Scripts outlive engine releases: ``from engine.protocol import Request`` must keep
working after ``Request`` has moved to ``engine.completion.protocol``. The engine's own
code is not changed: a removed module is provided by an import finder at the end of
``sys.meta_path``, and a module that lost names gets a module ``__getattr__`` when it is
imported.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from opcode import opmap
from types import FrameType, ModuleType
from typing import Any, Final

import msgspec


class Move(msgspec.Struct, frozen=True):
    """Names that a module lost in one release.

    Attributes:
        names: the names, as the module had them.
        last: the last release in which the module has them.
        place: the module they moved to, which may have lost them since; followed by
            ``:name`` if they were renamed. Empty: they were removed.
        instead: the replacement for removed names, if there is one.
    """

    names: list[str]
    last: str
    place: str = ""
    instead: str = ""


class GoneNameError(AttributeError):
    """A name that was removed from its module, and is not available elsewhere."""


#: The names that each module has lost, oldest first.
MovedNames = Mapping[str, Sequence[Move]]

_IMPORT_FROM: Final = opmap["IMPORT_FROM"]

_moved: Final[dict[str, Sequence[Move]]] = {}


def install_moved_names(moved: MovedNames) -> None:
    """Make moved names resolve to their new place; existing names are not affected.

    Access to a removed name raises :class:`GoneNameError`.
    """
    import wrapt

    for module, moves in moved.items():
        if module not in _moved:
            wrapt.register_post_import_hook(_add_moved_names, module)
        _moved[module] = moves
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


def reset_moved_names() -> None:
    """Forget all moved names."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__dict__", {}).get("__loader__") is _finder:
            del sys.modules[name]
    _moved.clear()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


class _GoneModuleFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Provides removed modules, and their packages, that no other finder finds.

    Except for the engine's own package: an engine that is not installed stays missing.
    """

    def find_spec(
        self, fullname: str, _path: Any = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if "." not in fullname:
            return None
        is_package = any(name.startswith(f"{fullname}.") for name in _moved)
        if fullname not in _moved and not is_package:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module empty; the import hook adds its ``__getattr__``.

        Raises:
            ModuleNotFoundError: all of its names were removed.
        """
        name = module.__name__
        moves = _moved.get(name, ())
        if not hasattr(module, "__path__") and not any(move.place for move in moves):
            message = (
                f"{name} was removed: {moves[-1].last} is the last release with it."
            )
            raise ModuleNotFoundError(message, name=name)


_finder: Final = _GoneModuleFinder()


def _add_moved_names(module: ModuleType) -> None:
    own = vars(module).get("__getattr__")
    if not isinstance(own, _ModuleAttributes):
        vars(module)["__getattr__"] = _ModuleAttributes(module, own)


class _ModuleAttributes:
    """The ``__getattr__`` of a module that has lost names.

    Args:
        own: the module's own ``__getattr__``, if it has one.
    """

    def __init__(
        self, module: ModuleType, own: Callable[[str], Any] | None = None
    ) -> None:
        self._module = module
        self._own = own

    def __call__(self, attribute: str) -> Any:
        try:
            return self.native(attribute)
        except AttributeError:
            name = self._module.__name__
            move = _find_move(name, attribute)
            if move is None and not self._lists_names(attribute):
                raise
        if move is None:
            return [*_available_names(name)]
        try:
            return _resolve_move(f"{name}:{attribute}", attribute, move)
        except GoneNameError as error:
            if _is_from_import(sys._getframe(1)):
                raise ImportError(str(error), name=name) from None
            raise

    def native(self, attribute: str) -> Any:
        """Return an attribute that the module itself has.

        Raises:
            AttributeError: the module does not have it.
        """
        if attribute in vars(self._module):
            return vars(self._module)[attribute]
        if self._own is not None:
            return self._own(attribute)
        message = f"module {self._module.__name__!r} has no attribute {attribute!r}"
        raise AttributeError(message)

    def _lists_names(self, attribute: str) -> bool:
        """Return whether this is ``from module import *`` of a removed module."""
        return attribute == "__all__" and self._module.__loader__ is _finder


def _find_move(module: str, name: str) -> Move | None:
    moves = _moved.get(module, ())
    return next((move for move in moves if name in move.names), None)


def _available_names(module: str) -> Iterator[str]:
    for move in _moved.get(module, ()):
        for name in move.names:
            with contextlib.suppress(ImportError, GoneNameError):
                _resolve_move(f"{module}:{name}", name, move)
                yield name


def _resolve_move(reference: str, name: str, move: Move) -> Any:
    """Return the object that a moved name refers to now.

    Raises:
        GoneNameError: it was removed.
        ImportError: the module that has it cannot be imported.
    """
    if not move.place:
        raise GoneNameError(_removed_message(reference, move))
    module, _, new_name = move.place.partition(":")
    name = new_name or name
    target = _import_place(reference, module)
    if target is not None:
        with contextlib.suppress(AttributeError):
            return _native_attribute(target, name)
    next_move = _find_move(module, name)
    if next_move is None:
        raise GoneNameError(
            f"{reference} moved to {module}:{name} after release {move.last}, and is "
            "not there either."
        )
    return _resolve_move(reference, name, next_move)


def _import_place(reference: str, name: str) -> ModuleType | None:
    """Return a module; None if this release does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            return None
        raise ImportError(
            f"{reference} moved to {name}, which cannot be imported: {error}",
            name=name,
        ) from error


def _native_attribute(module: ModuleType, attribute: str) -> Any:
    own = vars(module).get("__getattr__")
    if isinstance(own, _ModuleAttributes):
        return own.native(attribute)
    return getattr(module, attribute)


def _removed_message(reference: str, move: Move) -> str:
    instead = f" Use {move.instead} instead." if move.instead else ""
    return f"{reference} was removed: {move.last} is the last release with it.{instead}"


def _is_from_import(frame: FrameType) -> bool:
    """Return whether a frame is executing ``from module import name``.

    That statement turns any AttributeError into an ImportError with another text.
    """
    return frame.f_code.co_code[frame.f_lasti] == _IMPORT_FROM
