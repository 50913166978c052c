"""Install requirements.txt of the model folder before the server starts.

Packages go into the environment of the command, by its pip, or by uv where it has none.
The engine and its dependencies keep their versions: a file that conflicts with them is
an error, as is any other failed installation.
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

#: Seconds for the installation. SageMaker gives a container 8 minutes until it answers,
#: of which the engine needs a part.
LIMIT_S: Final = 300.0

_OURS: Final = __name__.partition(".")[0]
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PACKAGES: Final = (".whl", ".tar.gz", ".zip")
#: Defaults for pip and uv; variables of the environment and arguments override them.
#: An unreachable index fails within a minute; PEP 668's "externally managed" marker is
#: ignored, as the environment belongs to the container.
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
    """The report of :mod:`.constraints` on the environment of a command.

    Args:
        python: path of the interpreter.
        versions: the engine's packages and their installed versions.
    """

    python: str
    has_pip: bool
    versions: Mapping[str, str]

    def pins(self, names: Container[str] | None = None) -> Iterator[str]:
        """Yield constraints (``name==version``) for all packages, or for ``names``."""
        for name, version in self.versions.items():
            if names is None or name in names:
                yield f"{name}=={version}"


def install(
    command: Sequence[str], settings: Settings, *, limit_s: float = LIMIT_S
) -> None:
    """Install the model folder's requirements into the environment of a command.

    Raises:
        ConfigurationError: a variable has an invalid value.
        RequirementsError: the installation failed, or took more than ``limit_s``
            seconds.
        Interrupted: a signal arrived; the installation has been stopped.
        OSError: a file cannot be read or written.
    """
    file = find_file(settings)
    if file is None or not settings.auto_install:
        return
    text = _read(file)
    python = python_of(command)
    sys.stderr.write(f"standard-supervisor: installing {file} for {python}\n")
    for other in find_files(settings)[1:]:
        sys.stderr.write(
            f"standard-supervisor: {other} is not installed: {file} takes precedence\n"
        )
    deadline = time.monotonic() + limit_s
    try:
        with tempfile.TemporaryDirectory(prefix="mhcs-") as folder:
            environment = _inspect(python, Path(folder), deadline)
            status = _install(file, settings, environment, Path(folder), deadline)
    except TimeoutError:
        raise RequirementsError(
            f"{file} was not installed within {limit_s:g} seconds. Put wheels of all "
            f"its packages into {wheels_of(file)}: then no index is asked."
        ) from None
    if status:
        raise RequirementsError(_failure_message(file, status, text, environment))


def find_file(settings: Settings) -> Path | None:
    """Return the requirements file to install, if there is one."""
    return next(iter(find_files(settings)), None)


def find_files(settings: Settings) -> list[Path]:
    """Return the existing requirements files; only the first is installed.

    A dangling link counts as existing, so that it is reported as an error.
    """
    folders = settings.code_folders
    files = [folder.absolute() / "requirements.txt" for folder in folders]
    return [file for file in files if file.exists() or file.is_symlink()]


def wheels_of(file: Path) -> Path:
    """Return the folder for the wheels of a requirements file (``requirements/``)."""
    return file.with_suffix("")


def is_offline(file: Path) -> bool:
    """Whether there are wheels for a requirements file, so that no index is asked."""
    folder = wheels_of(file)
    return folder.is_dir() and any(
        package.name.endswith(_PACKAGES) for package in folder.iterdir()
    )


def _read(file: Path) -> str:
    """Return the text of a requirements file, in UTF-8 or UTF-16 with a BOM."""
    raw = file.read_bytes()
    # PowerShell and some editors write UTF-16.
    encoding = "utf-16" if raw.startswith(_UTF_16) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        raise RequirementsError(f"{file} is not UTF-8: save it as UTF-8.") from None


def _inspect(python: Path, folder: Path, deadline: float) -> Environment:
    """Run :mod:`.constraints` in a Python and return its report."""
    roots = (_OURS, *sorted(engine_names()))
    report = folder / "environment.json"
    with report.open("wb") as output:
        status = run_to_completion(
            [str(python), constraints.__file__, *roots], deadline, stdout=output
        )
    if status:
        raise RequirementsError(
            f"{python}, the Python of the command, failed to list its packages "
            f"(status {status})."
        )
    # `sitecustomize` or a `.pth` may print something before or after the report.
    lines = [line for line in report.read_bytes().splitlines() if line[:1] == b"{"]
    try:
        return msgspec.json.decode(b"".join(lines[-1:]), type=Environment)
    except msgspec.DecodeError as error:
        raise RequirementsError(
            f"{python}, the Python of the command, printed no valid list of its "
            f"packages: {error}."
        ) from None


def _install(
    file: Path,
    settings: Settings,
    environment: Environment,
    folder: Path,
    deadline: float,
) -> int:
    constraints_file = folder / "constraints.txt"
    write_private(constraints_file, "\n".join(environment.pins()))
    arguments = _arguments(file, constraints_file, settings.pip_arguments)
    return run_to_completion(
        [*_installer(environment), *arguments],
        deadline,
        cwd=file.parent,
        env={**_OPTIONS, **os.environ},
    )


def _installer(environment: Environment) -> list[str]:
    python = environment.python
    if environment.has_pip:
        return [python, "-m", "pip", "install"]
    sibling = Path(sys.executable).with_name("uv")
    uv = str(sibling) if sibling.exists() else shutil.which("uv")
    if uv is None:
        raise RequirementsError(
            f"{python}, the Python of the command, has no pip, and uv is missing too: "
            f"add pip to the image with `{python} -m ensurepip`, or install uv."
        )
    return [uv, "pip", "install", "--python", python]


def _arguments(
    file: Path, constraints_file: Path, given: Sequence[str]
) -> Iterator[str]:
    """Yield pip's arguments; ours are left out where ``given`` has the same option."""
    if is_offline(file):
        yield from ("--find-links", str(wheels_of(file)))
        if not _has(given, "-i", "--index-url", "--extra-index-url"):
            yield "--no-index"
    if not _has(given, "-c", "--constraint"):
        yield from ("--constraint", str(constraints_file))
    yield from ("--requirement", str(file))
    yield from given


def _has(given: Sequence[str], *options: str) -> bool:
    return any(
        # Short options may be joined with their value: -cFILE.
        word.partition("=")[0] in options or word[:2] in options
        for word in given
    )


def _failure_message(
    file: Path, status: int, text: str, environment: Environment
) -> str:
    message = f"{file} cannot be installed (status {status}): see pip's output above."
    names = {*constraints.names_in(text.splitlines())}
    if pinned := [*environment.pins(names)]:
        message += f" It names packages of the engine: {', '.join(pinned)}."
    if not is_offline(file):
        message += f" Where no index is reachable, put wheels into {wheels_of(file)}."
    return (
        f"{message} Packages of the engine keep their versions, unless "
        "STANDARD_PIP_ARGS has constraints ('-c /dev/null' for none)."
    )
