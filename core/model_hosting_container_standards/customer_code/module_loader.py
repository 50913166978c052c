"""Imports modules by name, with aliases for modules that were loaded from a file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from ..exceptions import ModuleLoadError


class ModuleLoader:
    """Imports modules by dotted name; ``aliases``, names to modules, come first."""

    def __init__(self, aliases: Mapping[str, ModuleType] | None = None) -> None:
        self.aliases = dict(aliases or {})

    def load_module(self, name: str) -> ModuleType:
        """Return the module.

        Raises:
            ModuleLoadError: it does not exist, or raised; its exception is the cause.
        """
        if name in self.aliases:
            return self.aliases[name]
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                message = f"{name} cannot be imported: {error.name!r} does not exist."
            else:
                message = f"{name} needs the module {error.name!r}, which is missing."
            raise ModuleLoadError(message) from error
        except Exception as error:
            raise ModuleLoadError(
                f"{name} raised {type(error).__name__} while it was imported: {error}"
            ) from error
