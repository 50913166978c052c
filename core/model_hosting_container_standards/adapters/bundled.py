"""Adapters bundled with the model: the subfolders of its ``adapters/`` folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import AdapterError
from ..logging_config import get_logger
from .adapter import AdapterSpec, check_name
from .files import locate
from .misplaced import CONFIG, is_archive

if TYPE_CHECKING:  # It imports SQLite, which only servers with adapters need.
    from .local_registry import LocalRegistry

logger = get_logger(__name__)


def add_bundled(adapters: LocalRegistry, folder: Path) -> None:
    """Register the adapters bundled with the model.

    Each is registered once per container: one that a client deleted or replaced is not
    restored. Loading happens later, and one that fails to load is listed as failed.
    """
    specs = []
    for entry in find_bundled(folder):
        try:
            _check(adapters, entry)
        except AdapterError as error:
            # repr(): a file name may have line breaks or undecodable bytes.
            logger.error("%r is not registered: %s", str(entry), error)
        else:
            specs.append((AdapterSpec(entry.name, str(entry)), _resolve(entry)))
    if specs:
        # Restoring loads the newest first, up to the engine's cache size. In reverse
        # order, these are the first names.
        names = adapters.store.add_bundled(specs[::-1])
        logger.info("Adapters bundled with the model: %s", sorted(names))
        for spec, path in specs:
            registered = adapters.view().get(spec.name)
            if registered is not None and registered.path != path:
                logger.warning(
                    "%r is not used: %r is already registered from %r.",
                    spec.src,
                    spec.name,
                    registered.src,
                )


def report_bundled(folder: Path, reason: str) -> None:
    """Log that the bundled adapters cannot be used, and why."""
    if entries := find_bundled(folder):
        names = ", ".join(ascii(entry.name)[1:-1] for entry in entries)
        logger.error("No adapter in %s is registered (%s): %s", folder, names, reason)


def find_bundled(folder: Path) -> Sequence[Path]:
    """Return the entries of a folder that may be adapters, sorted by name."""
    try:
        if (folder / CONFIG).exists():
            logger.error("%s is an adapter itself: move it to %s/NAME.", folder, folder)
            return ()
        return [entry for entry in sorted(folder.iterdir()) if _may_be_adapter(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        logger.error("No adapter in %s is registered: %s.", folder, error.strerror)
        return ()


def _may_be_adapter(entry: Path) -> bool:
    if entry.name.startswith((".", "__")):
        return False  # Files of tools: .git, .DS_Store, __pycache__, __MACOSX.
    # A broken link was meant to lead to an adapter, so it is reported as one.
    is_broken_link = entry.is_symlink() and not entry.exists()
    return entry.is_dir() or is_broken_link or is_archive(entry)


def _check(adapters: LocalRegistry, entry: Path) -> None:
    """Check that an entry can be registered.

    Raises:
        AdapterError: it is an archive, or its name is not allowed.
    """
    if is_archive(entry) and not entry.is_dir():
        raise AdapterError("it is an archive. Unpack it into a folder.")
    check_name(entry.name)
    adapters.loader.check_name(entry.name)


def _resolve(entry: Path) -> str:
    """Return an entry's real path; a missing target is reported when it is loaded."""
    try:
        return str(locate(str(entry), None))
    except AdapterError:
        return str(entry)
