"""requirements.txt of the model folder: installed before the server starts.

It goes into the environment of the command, by that environment's pip, or by uv where
it has none. What the engine there needs stays as it is: a file that wants it otherwise
is an error, as is whatever else cannot be installed.
"""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ..engines.registry import engine_names
from ..exceptions import RequirementsError
from ..settings import Settings
from . import constraints
from .child import run_to_completion
from .interpreter import python_of
from .private_file import write_private

#: SageMaker gives a container 8 minutes until it answers: the engine needs its own.
LIMIT_S: Final = 300.0

_OURS: Final = __name__.partition(".")[0]
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PACKAGES: Final = (".whl", ".tar.gz", ".zip")
#: pip's own options, as variables: those of the environment go before them, and the
#: arguments before both. An index that does not answer is left within a minute, and a
#: container's environment is the container's, whatever its distribution says.
_OPTIONS: Final = {
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_RETRIES": "2",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_TIMEOUT": "15",
    "UV_BREAK_SYSTEM_PACKAGES": "1",
    "UV_HTTP_RETRIES": "2",
    "UV_HTTP_TIMEOUT": "15",
    "UV_LINK_MODE": "copy",
    "UV_NO_PROGRESS": "1",
}


class Environment(msgspec.Struct, frozen=True):
    """What :mod:`.constraints` finds out about the environment of a command."""

    python: str
    has_pip: bool
    versions: Mapping[str, str]

    def pins(self, names: Container[str] | None = None) -> Iterator[str]:
        """Yield constraints: on all that the engine needs, or on some of it."""
        for name, version in self.versions.items():
            if names is None or name in names:
                yield f"{name}=={version}"


def install(
    command: Sequence[str], settings: Settings, *, limit_s: float = LIMIT_S
) -> None:
    """Install what the model folder asks for, where the command will find it.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
        RequirementsError: it cannot be installed, or not within ``limit_s`` seconds.
        Interrupted: a signal came; nothing of the installation runs any more.
        OSError: a file cannot be read, or written.
    """
    file = find_file(settings)
    if file is None or not settings.auto_install:
        return
    text = _read(file)
    python = python_of(command)
    sys.stderr.write(f"standard-supervisor: installing {file} for {python}\n")
    for other in find_files(settings)[1:]:
        sys.stderr.write(f"standard-supervisor: {other} is not installed\n")
    deadline = time.monotonic() + limit_s
    try:
        with tempfile.TemporaryDirectory(prefix="mhcs-") as folder:
            environment = _look_at(python, Path(folder), deadline)
            status = _install(file, settings, environment, Path(folder), deadline)
    except TimeoutError:
        raise RequirementsError(
            f"{file} was not installed within {limit_s:g} seconds. Put wheels of all "
            f"that it asks for into {wheels_of(file)}: no index is asked then."
        ) from None
    if status:
        raise RequirementsError(_what_failed(file, status, text, environment))


def find_file(settings: Settings) -> Path | None:
    """Return the file that is installed, if there is one."""
    return next(iter(find_files(settings)), None)


def find_files(settings: Settings) -> list[Path]:
    """Return the files there are, the one that counts first.

    A link that leads nowhere is one.
    """
    folders = settings.code_folders
    files = [folder.absolute() / "requirements.txt" for folder in folders]
    return [file for file in files if file.exists() or file.is_symlink()]


def wheels_of(file: Path) -> Path:
    """Return the folder of packages that go with a requirements file."""
    return file.with_suffix("")


def is_offline(file: Path) -> bool:
    """Whether there are such packages, so that no index is asked."""
    folder = wheels_of(file)
    return folder.is_dir() and any(
        package.name.endswith(_PACKAGES) for package in folder.iterdir()
    )


def _read(file: Path) -> str:
    """Return the text of a file that pip can read."""
    raw = file.read_bytes()
    # What some editors, and PowerShell, write.
    encoding = "utf-16" if raw.startswith(_UTF_16) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        raise RequirementsError(f"{file} is no UTF-8: save it as UTF-8.") from None


def _look_at(python: Path, folder: Path, deadline: float) -> Environment:
    """Ask a Python what is installed where it looks."""
    roots = (_OURS, *sorted(engine_names()))
    answer = folder / "environment.json"
    with answer.open("wb") as output:
        status = run_to_completion(
            [str(python), constraints.__file__, *roots], deadline, stdout=output
        )
    if status:
        raise RequirementsError(
            f"{python}, which the command runs by, cannot say what is installed for "
            f"it: it ended with status {status}."
        )
    # A Python may print at its start and at its end, as its customisations have it.
    lines = [line for line in answer.read_bytes().splitlines() if line[:1] == b"{"]
    try:
        return msgspec.json.decode(b"".join(lines[-1:]), type=Environment)
    except msgspec.DecodeError as error:
        raise RequirementsError(
            f"{python}, which the command runs by, says what is installed for it in "
            f"words that cannot be read: {error}."
        ) from None


def _install(
    file: Path,
    settings: Settings,
    environment: Environment,
    folder: Path,
    deadline: float,
) -> int:
    kept = folder / "constraints.txt"
    write_private(kept, "\n".join(environment.pins()))
    return run_to_completion(
        [*_installer(environment), *_arguments(file, kept, settings.pip_arguments)],
        deadline,
        cwd=file.parent,
        env={**_OPTIONS, **os.environ},
    )


def _installer(environment: Environment) -> list[str]:
    python = environment.python
    if environment.has_pip:
        return [python, "-m", "pip", "install"]
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise RequirementsError(
            f"{python}, which the command runs by, has no pip, and there is no uv "
            f"either: add pip to the image by `{python} -m ensurepip`, or install uv."
        )
    return [uv, "pip", "install", "--python", python]


def _arguments(file: Path, kept: Path, given: Sequence[str]) -> Iterator[str]:
    """Yield what pip is told: what ``given`` says otherwise is left out."""
    if is_offline(file):
        yield from ("--find-links", str(wheels_of(file)))
        if not _has(given, "-i", "--index-url", "--extra-index-url"):
            yield "--no-index"
    if not _has(given, "-c", "--constraint"):
        yield from ("--constraint", str(kept))
    yield from ("--requirement", str(file))
    yield from given


def _has(given: Sequence[str], *options: str) -> bool:
    return any(
        # Short ones may have their value behind them: -cFILE.
        word.partition("=")[0] in options or word[:2] in options
        for word in given
    )


def _what_failed(file: Path, status: int, text: str, environment: Environment) -> str:
    message = f"{file} cannot be installed (status {status}): pip says why above."
    names = {*constraints.names_in(text.splitlines())}
    if named := [*environment.pins(names)]:
        message += f" It names what the engine needs as it is: {', '.join(named)}."
    if not is_offline(file):
        message += f" Where no index can be reached, put wheels into {wheels_of(file)}."
    return (
        f"{message} What the engine needs keeps its version, unless STANDARD_PIP_ARGS "
        "has constraints of its own ('-c /dev/null' for none)."
    )
