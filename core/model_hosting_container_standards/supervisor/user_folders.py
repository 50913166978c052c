"""Folders of the user, for the commands that this process runs.

Engines and pip keep files in the home folder. The user of a container may have none, as
the image does not know the user id, or one on a file system that is read-only.
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

#: Where libraries keep what they make, and what that is in the home folder.
_CACHES: Final = {
    "XDG_CACHE_HOME": ".cache",
    "TRITON_CACHE_DIR": ".triton/cache",
    "FLASHINFER_WORKSPACE_BASE": "",
}
#: Where an image may have brought something along, which need only be read.
_CONTENTS: Final = {"HF_HOME": ".cache/huggingface", "PYTHONUSERBASE": ".local"}


def check_temporary_folder() -> None:
    """Check that there is a folder for temporary files.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise FileNotFoundError(
            "there is no folder for temporary files that can be written: mount one at "
            "/tmp, or let TMPDIR name one"
        ) from None


def warn_of_missing_shared_memory() -> None:
    """Write a warning where processes of an engine cannot share memory.

    It is no error: an engine that is one process does without.
    """
    if not os.access(SHARED_MEMORY, os.W_OK):
        sys.stderr.write(
            f"standard-supervisor: {SHARED_MEMORY} cannot be written: an engine of "
            "several processes needs it, so mount a tmpfs there\n"
        )


@contextmanager
def provide_home(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Let what cannot be kept in the home folder be kept in a temporary one.

    No variable that is set changes, but for a ``HOME`` that leads nowhere. The folder
    is removed afterwards.

    Raises:
        OSError: it cannot be made.
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
            f"standard-supervisor: HOME={home!r} cannot be written: {values}\n"
        )
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name_user(environ: MutableMapping[str, str]) -> None:
    """Give a user without an entry the name that ``getpass.getuser`` asks for."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        environ["USER"] = f"uid_{os.getuid()}"


def _is_writable(home: str) -> bool:
    """Whether a home can be written, or made by what needs it."""
    if not home:
        return False
    folders = (Path(home), *Path(home).parents)
    there = next(folder for folder in folders if os.access(folder, os.F_OK))
    return there.is_dir() and os.access(there, os.W_OK)


def _changes(
    environ: Mapping[str, str], home: str, folder: Path
) -> Iterator[tuple[str, str]]:
    # `/` is what container runtimes set for a user without an entry.
    if home in ("", "/") or not os.access(home, os.F_OK):
        yield "HOME", str(folder)
        return
    for name, below in (*_CACHES.items(), *_CONTENTS.items()):
        if not environ.get(name):
            kept = Path(home, below)
            is_kept = name in _CONTENTS and os.access(kept, os.R_OK)
            yield name, str(kept if is_kept else folder / below)
