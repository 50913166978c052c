"""Resolves code references: ``file.py:name`` and ``package.module:name``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..exceptions import (
    HandlerNotCallableError,
    HandlerNotFoundError,
    InvalidHandlerSpecError,
)
from .file_loader import FileLoader
from .module_loader import ModuleLoader
from .moved_names import GoneNameError


class FunctionLoader:
    """Resolves code references to callables.

    ``search_paths`` are the folders of relative files; ``module_aliases`` maps names to
    loaded modules.
    """

    def __init__(
        self,
        search_paths: Iterable[str | Path] = (),
        module_aliases: Mapping[str, ModuleType] | None = None,
    ) -> None:
        self.files = FileLoader(search_paths)
        self.modules = ModuleLoader(module_aliases)

    def load_function(self, reference: str) -> Callable[..., Any]:
        """Return the callable that ``model.py:fn`` or ``package.module:fn`` names.

        A method of a class is bound to a new instance, made without arguments.

        Raises:
            HandlerResolutionError: it cannot be resolved; the subclass says why.
        """
        location, separator, attribute = reference.rpartition(":")
        if not (separator and location and attribute):
            raise InvalidHandlerSpecError(
                f"{reference!r} is not a code reference: write file.py:function or "
                "package.module:function."
            )
        module = self.load_module(location)
        function: Callable[..., Any] | Any = get_attribute(module, attribute)
        if not callable(function):
            raise HandlerNotCallableError(
                f"{reference!r} is a {type(function).__name__}, not a callable."
            )
        return function

    def load_module(self, location: str) -> ModuleType:
        """Return the module of a ``.py`` file or of a dotted name."""
        if location.endswith(".py"):
            return self.files.load_module(location)
        return self.modules.load_module(location)


def get_attribute(module: ModuleType, dotted: str) -> Any:
    """Return ``module.a.b``; a method of a class is bound to a new instance.

    Raises:
        HandlerNotFoundError: the attribute does not exist.
        HandlerNotCallableError: the class cannot be instantiated.
    """
    owner: Any = None
    value: Any = module
    for name in dotted.split("."):
        owner, value = value, _get_member(value, name)
    if inspect.isclass(owner) and _is_instance_method(owner, name):
        return getattr(instantiate(owner), name)
    return value


def _get_member(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except GoneNameError as error:
        raise HandlerNotFoundError(str(error)) from None
    except AttributeError:
        pass
    import difflib

    label = getattr(owner, "__name__", repr(owner))
    names = [name for name in dir(owner) if not name.startswith("_")]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    file = getattr(owner, "__file__", None)
    where = f"{label} ({file})" if file else label
    raise HandlerNotFoundError(f"{where} has no {name!r}{hint}")


def _is_instance_method(owner: type, name: str) -> bool:
    return inspect.isfunction(inspect.getattr_static(owner, name))


def instantiate(cls: type[Any]) -> Any:
    """Return an instance of a class, made without arguments.

    Raises:
        HandlerNotCallableError: the constructor raised; its exception is the cause.
    """
    try:
        return cls()
    except Exception as error:
        raise HandlerNotCallableError(
            f"{cls.__module__}.{cls.__qualname__} cannot be created without arguments "
            f"({type(error).__name__}: {error}): refer to a classmethod, a "
            "staticmethod or a function instead."
        ) from error
