"""Python files as real modules: loaded once, with their siblings importable."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from ...exceptions import HandlerFileNotFoundError, ModuleLoadError

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
            _loaded[key] = _imported_already(path) or _execute(path)
        return _loaded[key]

    def find(self, location: str | Path) -> Path:
        """Return the absolute path of the file ``location`` names.

        Raises:
            HandlerFileNotFoundError: there is no such file.
            ModuleLoadError: whether there is one cannot be seen.
        """
        candidates = [folder / location for folder in self.search_paths or (Path(),)]
        for path in candidates:
            try:
                if path.is_file():
                    return path.parent.resolve() / path.name
            except OSError as error:
                reason = f"{path} cannot be read: {error.strerror}."
                raise ModuleLoadError(reason) from None
        tried = ", ".join(str(path) for path in candidates)
        raise HandlerFileNotFoundError(
            f"The file {str(location)!r} does not exist; looked for: {tried}."
        )


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


def _execute(path: Path) -> ModuleType:
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleLoadError(f"{path} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    _make_importable(path.parent)
    # Before it runs: dataclasses, pickle and Pydantic look a class's module up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ModuleLoadError(
            f"{path} raised {type(error).__name__} while it was loaded: {error}"
        ) from error
    return module


def _module_name(path: Path) -> str:
    """Return the stem, which is what a sibling or an unpickling process imports.

    A stem that is taken (``json.py``) gets a name of its own, so that nobody else's
    import finds the customer's file.
    """
    if path.stem not in sys.modules and path.stem not in sys.stdlib_module_names:
        return path.stem
    return "customer_" + re.sub(r"\W", "_", str(path.with_suffix("")).strip("/"))


def _make_importable(folder: Path) -> None:
    """Put the folder first on the path, as ``python FILE`` does."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        _folders.append(str(folder))


def reset_loaded_files() -> None:
    """Forget every loaded file and its siblings, and take the folders off the path."""
    folders = tuple(f"{folder}/" for folder in _folders)
    for name, module in list(sys.modules.items()):
        below = _file_of(module).startswith(folders)
        ours = below or module in _loaded.values()
        if ours and name != "__main__":
            del sys.modules[name]
    for folder in _folders:
        if folder in sys.path:
            sys.path.remove(folder)
    _loaded.clear()
    _folders.clear()
