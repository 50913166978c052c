"""Python files as real modules: loaded once, with their siblings importable."""

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
    """Load Python files by path, each file once in a process.

    Relative paths are looked up below ``search_paths``, in order.
    """

    def __init__(self, search_paths: Iterable[str | Path] = ()) -> None:
        self.search_paths = tuple(Path(path) for path in search_paths)

    def load_module(self, location: str | Path) -> ModuleType:
        """Return the module of a file.

        Raises:
            HandlerFileNotFoundError: there is no such file.
            ModuleLoadError: the file raised; its own error is the cause.
        """
        path = self.find(location)
        # A link is another name of the same code, but name and siblings are the link's.
        key = path.resolve()
        if key not in _loaded:
            for other in self._files(location):
                if other.resolve() != key:
                    logger.info("%s is used, and not %s", path, other)
            _loaded[key] = _imported_already(path) or _execute(path)
        return _loaded[key]

    def find(self, location: str | Path) -> Path:
        """Return the absolute path of the file ``location`` names: the first there is.

        Raises:
            HandlerFileNotFoundError: there is no such file.
            ModuleLoadError: whether there is one cannot be seen.
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
        # An absolute location is the same in each of them.
        return [*dict.fromkeys(folder / location for folder in folders)]


def _is_file(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        ModuleLoadError: whether there is one cannot be seen.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise ModuleLoadError(f"{path} cannot be read: {error.strerror}.") from None


def _imported_already(path: Path) -> ModuleType | None:
    """Return the module that Python itself made of this very file, if any."""
    for module in list(sys.modules.values()):
        file = _file_of(module)
        # The name first: to look every module's file up would take its time.
        if file.endswith(path.name) and Path(file).resolve() == path.resolve():
            return module
    return None


def _file_of(module: ModuleType) -> str:
    # Not by attribute: a lazy module would import something to answer.
    return (
        str(vars(module).get("__file__") or "") if hasattr(module, "__dict__") else ""
    )


def _places_of(module: ModuleType) -> list[str]:
    """Return a module's file and, of a package that may have none, its folders."""
    folders = getattr(module, "__dict__", {}).get("__path__", ())
    return [_file_of(module), *map(str, folders)]


def _execute(path: Path) -> ModuleType:
    is_taken = _is_taken(path)
    name = _own_name(path) if is_taken else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleLoadError(f"{path} is no Python file: its name must end in .py.")
    check_source(path)
    module = importlib.util.module_from_spec(spec)
    _make_importable(path.parent, first=not is_taken)
    # Before it runs: dataclasses, pickle and Pydantic look a class's module up there.
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


def _is_taken(path: Path) -> bool:
    """Whether the stem of a file, by which siblings import it, is another module's."""
    if path.stem in sys.modules or path.stem in sys.stdlib_module_names:
        return True
    # With a dot in it, the name is nobody's, and its first part would be imported.
    spec = None if "." in path.stem else importlib.util.find_spec(path.stem)
    origin = spec.origin if spec is not None else None
    return origin is not None and Path(origin).resolve() != path.resolve()


def _own_name(path: Path) -> str:
    """Return a name by which no import of another module finds the file."""
    return "customer_" + re.sub(r"\W", "_", str(path.with_suffix("")).strip("/"))


def _make_importable(folder: Path, *, first: bool) -> None:
    """Put the folder first on the path, as ``python FILE`` does.

    Last, where a file of it (``vllm.py``) would take an installed module's place.
    """
    if str(folder) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(folder))
        _folders.append(str(folder))


def reset_loaded_files() -> None:
    """Forget every loaded file and its siblings, and take the folders off the path."""
    folders = tuple(f"{folder}/" for folder in _folders)
    for name, module in list(sys.modules.items()):
        below = any(place.startswith(folders) for place in _places_of(module))
        ours = below or module in _loaded.values()
        if ours and name != "__main__":
            del sys.modules[name]
    for folder in _folders:
        if folder in sys.path:
            sys.path.remove(folder)
    _loaded.clear()
    _folders.clear()
