"""Install requirements before the server starts.

They are requirements.txt of the model folder, or what ``STANDARD_PIP_ARGS`` names.

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
from .pip_arguments import has_option, names_requirements
from .private_file import write_private

#: Seconds for the installation. SageMaker gives a container 8 minutes until it answers,
#: of which the engine needs a part.
LIMIT_S: Final = 300.0

_OURS: Final = __name__.partition(".")[0]
_ARGUMENTS: Final = Settings.pip_arguments.name
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


class Requirements(msgspec.Struct, frozen=True):
    """What is installed.

    Args:
        file: requirements.txt of the model folder; None if the arguments name the
            requirements themselves.
        arguments: those of ``STANDARD_PIP_ARGS``.
    """

    file: Path | None
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        # Without the arguments, which may contain a password.
        return f"what {_ARGUMENTS} names" if self.file is None else str(self.file)

    @property
    def origin(self) -> str:
        """The file, or the variable."""
        return _ARGUMENTS if self.file is None else str(self.file)

    @property
    def folder(self) -> Path | None:
        """The folder that relative paths begin at; None for the current one."""
        return None if self.file is None else self.file.parent

    @property
    def wheels_advice(self) -> str:
        """How to install without an index."""
        if self.file is None:
            return "Name wheels, or their folder with --no-index and --find-links"
        return f"Put wheels of all its packages into {wheels_of(self.file)}"

    def text(self) -> str:
        """Return the requirements; of other files, only the names are in it.

        Raises:
            RequirementsError: the file is not text.
            OSError: it cannot be read.
        """
        return "\n".join(self.arguments) if self.file is None else _read(self.file)


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
    requirements = find_requirements(settings) if settings.auto_install else None
    if requirements is None:
        return
    # First, as a file that cannot be read ends the start.
    text = requirements.text()
    python = python_of(command)
    sys.stderr.write(f"standard-supervisor: installing {requirements} for {python}\n")
    for other in find_files(settings):
        if other != requirements.file:
            sys.stderr.write(
                f"standard-supervisor: {other} is not installed: "
                f"{requirements.origin} takes precedence\n"
            )
    deadline = time.monotonic() + limit_s
    try:
        with tempfile.TemporaryDirectory(prefix="mhcs-") as folder:
            environment = _inspect(python, Path(folder), deadline)
            status = _install(requirements, environment, Path(folder), deadline)
    except TimeoutError:
        raise RequirementsError(
            f"{requirements} was not installed within {limit_s:g} seconds. "
            f"{requirements.wheels_advice}: then no index is asked."
        ) from None
    if status:
        raise RequirementsError(
            _failure_message(requirements, status, text, environment)
        )


def find_requirements(settings: Settings) -> Requirements | None:
    """Return what is to be installed, if there is anything.

    Requirements that the arguments name take the place of the model folder's file.

    Raises:
        ConfigurationError: the arguments cannot be read.
    """
    arguments = settings.pip_arguments
    if names_requirements(arguments):
        return Requirements(None, arguments)
    file = find_file(settings)
    return None if file is None else Requirements(file, arguments)


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
    requirements: Requirements,
    environment: Environment,
    folder: Path,
    deadline: float,
) -> int:
    constraints_file = folder / "constraints.txt"
    write_private(constraints_file, "\n".join(environment.pins()))
    arguments = _arguments(requirements, constraints_file)
    return run_to_completion(
        [*_installer(environment), *arguments],
        deadline,
        cwd=requirements.folder,
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


def _arguments(requirements: Requirements, constraints_file: Path) -> Iterator[str]:
    """Yield pip's arguments; ours are left out where the given ones have them."""
    given, file = requirements.arguments, requirements.file
    if file is not None and is_offline(file):
        yield from ("--find-links", str(wheels_of(file)))
        if not has_option(given, "-i", "--index-url", "--extra-index-url"):
            yield "--no-index"
    if not has_option(given, "-c", "--constraint", "--constraints"):
        yield from ("--constraint", str(constraints_file))
    if file is not None:
        yield from ("--requirement", str(file))
    yield from given


def _failure_message(
    requirements: Requirements, status: int, text: str, environment: Environment
) -> str:
    message = (
        f"{requirements} cannot be installed (status {status}): see pip's output above."
    )
    names = {*constraints.names_in(text.splitlines())}
    if pinned := [*environment.pins(names)]:
        message += f" It names packages of the engine: {', '.join(pinned)}."
    file = requirements.file
    if file is not None and not is_offline(file):
        message += f" Where no index is reachable, put wheels into {wheels_of(file)}."
    return (
        f"{message} Packages of the engine keep their versions, unless "
        f"{_ARGUMENTS} has constraints ('-c /dev/null' for none)."
    )
