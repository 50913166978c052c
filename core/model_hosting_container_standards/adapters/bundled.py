"""Adapters that come with the model: the folders of ``adapters/`` beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import AdapterError
from ..logging_config import get_logger
from .adapter import AdapterSpec, check_name
from .files import locate
from .misplaced import CONFIG, is_archive

if TYPE_CHECKING:  # With it comes SQLite, which only a server with adapters needs.
    from .registry import AdapterRegistry

logger = get_logger(__name__)


def add_bundled(adapters: AdapterRegistry, folder: Path) -> None:
    """Register what comes with the model, as if a client had asked for it.

    Each once in the life of a container: what was deleted, or replaced, stays so. It is
    loaded with all that is registered, and one that cannot be loaded is listed.
    """
    found = []
    for entry in find_bundled(folder):
        try:
            _check(adapters, entry)
        except AdapterError as error:
            # Its representation: a name may have line ends, or be no text.
            logger.error("%r is not registered: %s", str(entry), error)
        else:
            found.append((AdapterSpec(entry.name, str(entry)), _resolve(entry)))
    if found:
        # Of more than the engine keeps, it loads the last: so the first names are.
        names = adapters.store.add_bundled(found[::-1])
        logger.info("Adapters that come with the model: %s", sorted(names))
        for spec, path in found:
            registered = adapters.view().get(spec.name)
            if registered is not None and registered.path != path:
                logger.warning(
                    "%r is not used: %r is registered from %r already.",
                    spec.src,
                    spec.name,
                    registered.src,
                )


def report_bundled(folder: Path, reason: str) -> None:
    """Say that what comes with the model is of no use here."""
    if found := find_bundled(folder):
        names = ", ".join(ascii(entry.name)[1:-1] for entry in found)
        logger.error("No adapter of %s is registered (%s): %s", folder, names, reason)


def find_bundled(folder: Path) -> Sequence[Path]:
    """Return what a folder has that may be an adapter, in the order of names."""
    try:
        if (folder / CONFIG).exists():
            logger.error("%s is an adapter itself: move it to %s/NAME.", folder, folder)
            return ()
        return [entry for entry in sorted(folder.iterdir()) if _may_be_adapter(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        logger.error("No adapter of %s is registered: %s.", folder, error.strerror)
        return ()


def _may_be_adapter(entry: Path) -> bool:
    if entry.name.startswith((".", "__")):
        return False  # Of tools: .git, .DS_Store, __pycache__, __MACOSX.
    # A link that leads nowhere was meant to lead to an adapter.
    is_lost = entry.is_symlink() and not entry.exists()
    return entry.is_dir() or is_lost or is_archive(entry)


def _check(adapters: AdapterRegistry, entry: Path) -> None:
    """Refuse what can have no place in the table.

    Raises:
        AdapterError: it is packed, or has a name that no adapter may have.
    """
    if is_archive(entry) and not entry.is_dir():
        raise AdapterError("it is an archive. Unpack it into a folder.")
    check_name(entry.name)
    adapters.loader.check_name(entry.name)


def _resolve(entry: Path) -> str:
    """Return where an entry really is; that it is nowhere is found out later."""
    try:
        return str(locate(str(entry), None))
    except AdapterError:
        return str(entry)
