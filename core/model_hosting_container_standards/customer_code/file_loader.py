"""Loads Python files as modules, once, with the files beside them importable."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from ..exceptions import HandlerFileNotFoundError, ModuleLoadError
from ..logging_config import get_logger
from .script_source import advice_on, check_source

logger = get_logger(__name__)

_loaded: dict[Path, ModuleType] = {}
_folders: list[str] = []


class FileLoader:
    """Loads Python files by path, each file once per process.

    Relative paths are looked up in ``search_paths``, in order.
    """

    def __init__(self, search_paths: Iterable[str | Path] = ()) -> None:
        self.search_paths = tuple(Path(path) for path in search_paths)

    def load_module(self, location: str | Path) -> ModuleType:
        """Return the module of a file.

        Raises:
            HandlerFileNotFoundError: the file does not exist.
            ModuleLoadError: it cannot be loaded; an exception of the file is chained as
                the cause.
        """
        path = self.find(location)
        # A file is loaded once, also by several links. The module's name and siblings
        # are those of the first link.
        key = path.resolve()
        if key not in _loaded:
            for other in self._files(location):
                if other.resolve() != key:
                    logger.info("%s is used instead of %s", path, other)
            _loaded[key] = _find_imported(path) or _execute(path)
        return _loaded[key]

    def find(self, location: str | Path) -> Path:
        """Return the absolute path of the first file that exists for ``location``.

        Raises:
            HandlerFileNotFoundError: the file does not exist.
            ModuleLoadError: a folder cannot be accessed.
        """
        for path in self._files(location):
            return path.parent.resolve() / path.name
        tried = ", ".join(str(path) for path in self._candidates(location))
        raise HandlerFileNotFoundError(
            f"The file {str(location)!r} does not exist; looked for: {tried}."
        )

    def _files(self, location: str | Path) -> Iterator[Path]:
        return (path for path in self._candidates(location) if _is_file(path))

    def _candidates(self, location: str | Path) -> list[Path]:
        folders = self.search_paths or (Path(),)
        # An absolute location gives the same path for each folder.
        return [*dict.fromkeys(folder / location for folder in folders)]


def _is_file(path: Path) -> bool:
    """Return whether the file exists.

    Raises:
        ModuleLoadError: its folder cannot be accessed.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise ModuleLoadError(f"{path} cannot be read: {error.strerror}.") from None


def _find_imported(path: Path) -> ModuleType | None:
    """Return the module that Python has already imported from this file, if any."""
    for module in list(sys.modules.values()):
        file = _file_of(module)
        # Compare names first: resolving the paths of all modules would be slow.
        if file.endswith(path.name) and Path(file).resolve() == path.resolve():
            return module
    return None


def _file_of(module: ModuleType) -> str:
    # Not getattr(): a lazy module would import a submodule for it.
    return (
        str(vars(module).get("__file__") or "") if hasattr(module, "__dict__") else ""
    )


def _places_of(module: ModuleType) -> list[str]:
    """Return a module's file and, for a package, its folders."""
    folders = getattr(module, "__dict__", {}).get("__path__", ())
    return [_file_of(module), *map(str, folders)]


def _execute(path: Path) -> ModuleType:
    is_taken = _is_name_taken(path)
    name = _unique_name(path) if is_taken else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleLoadError(f"{path} is not a Python file: its name must end in .py.")
    check_source(path)
    module = importlib.util.module_from_spec(spec)
    _make_importable(path.parent, first=not is_taken)
    # Registered before it runs, as dataclasses, pickle and Pydantic look it up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ModuleLoadError(
            f"{path} raised {type(error).__name__} while it was loaded: "
            f"{error}{advice_on(error)}"
        ) from error
    return module


def _is_name_taken(path: Path) -> bool:
    """Return whether another module has the stem of the file as its name."""
    if path.stem in sys.modules or path.stem in sys.stdlib_module_names:
        return True
    # No module has a dot in its name, and find_spec() would import the part before it.
    spec = None if "." in path.stem else importlib.util.find_spec(path.stem)
    origin = spec.origin if spec is not None else None
    return origin is not None and Path(origin).resolve() != path.resolve()


def _unique_name(path: Path) -> str:
    """Return a module name that no other module has."""
    return "customer_" + re.sub(r"\W", "_", str(path.with_suffix("")).strip("/"))


def _make_importable(folder: Path, *, first: bool) -> None:
    """Put the folder first on ``sys.path``, as ``python FILE`` does, or last.

    Last if one of its files (``vllm.py``) would shadow an installed module.
    """
    if str(folder) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(folder))
        _folders.append(str(folder))


def reset_loaded_files() -> None:
    """Forget all loaded files and the modules beside them, and restore ``sys.path``."""
    if not _loaded and not _folders:
        return
    folders = tuple(f"{folder}/" for folder in _folders)
    for name, module in list(sys.modules.items()):
        is_beside = any(place.startswith(folders) for place in _places_of(module))
        is_ours = is_beside or module in _loaded.values()
        if is_ours and name != "__main__":
            del sys.modules[name]
    for folder in _folders:
        if folder in sys.path:
            sys.path.remove(folder)
    _loaded.clear()
    _folders.clear()
