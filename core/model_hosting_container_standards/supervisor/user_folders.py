"""Provide a writable home folder for the commands that this process runs.

Engines and pip write to the home folder. The user of a container may have none, if the
image does not know the user id, or one on a read-only file system.
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..contract.folders import SHARED_MEMORY

#: Variables for caches that libraries write, and the default path below the home.
_CACHES: Final = {
    "XDG_CACHE_HOME": ".cache",
    "TRITON_CACHE_DIR": ".triton/cache",
    "FLASHINFER_WORKSPACE_BASE": "",
}
#: The same for folders that the image may have filled: readable is enough.
_CONTENTS: Final = {"HF_HOME": ".cache/huggingface", "PYTHONUSERBASE": ".local"}


def check_temporary_folder() -> None:
    """Check that a folder for temporary files is writable.

    Raises:
        FileNotFoundError: no such folder is writable.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise FileNotFoundError(
            "no folder for temporary files is writable: mount one at /tmp, or set "
            "TMPDIR"
        ) from None


def warn_of_missing_shared_memory() -> None:
    """Warn if /dev/shm is not writable.

    It is not an error: an engine with a single process does not need it.
    """
    if not os.access(SHARED_MEMORY, os.W_OK):
        sys.stderr.write(
            f"standard-supervisor: {SHARED_MEMORY} cannot be written: an engine with "
            "several processes needs it, so mount a tmpfs there\n"
        )


@contextmanager
def provide_home(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Point ``HOME``, or cache variables, to a temporary folder if home is read-only.

    Variables that are set stay, except a ``HOME`` that does not exist. The folder is
    removed on exit.

    Raises:
        OSError: the folder cannot be created.
    """
    _name_user(environ)
    home = environ.get("HOME", "")
    if _is_writable(home):
        yield
        return
    folder = tempfile.mkdtemp(prefix="mhcs-home-")
    try:
        changed = dict(_changes(environ, home, Path(folder)))
        environ.update(changed)
        values = ", ".join(f"{name}={changed[name]}" for name in changed)
        sys.stderr.write(
            f"standard-supervisor: HOME={home!r} cannot be written: using {values}\n"
        )
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name_user(environ: MutableMapping[str, str]) -> None:
    """Set ``USER`` if the user has no passwd entry: ``getpass.getuser`` needs it."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        environ["USER"] = f"uid_{os.getuid()}"


def _is_writable(home: str) -> bool:
    """Whether a home is writable, or can be created."""
    if not home:
        return False
    folders = (Path(home), *Path(home).parents)
    existing = next(folder for folder in folders if os.access(folder, os.F_OK))
    return existing.is_dir() and os.access(existing, os.W_OK)


def _changes(
    environ: Mapping[str, str], home: str, folder: Path
) -> Iterator[tuple[str, str]]:
    # Container runtimes set `/` for a user without a passwd entry.
    if home in ("", "/") or not os.access(home, os.F_OK):
        yield "HOME", str(folder)
        return
    for name, relative in (*_CACHES.items(), *_CONTENTS.items()):
        if not environ.get(name):
            default = Path(home, relative)
            is_usable = name in _CONTENTS and os.access(default, os.R_OK)
            yield name, str(default if is_usable else folder / relative)
