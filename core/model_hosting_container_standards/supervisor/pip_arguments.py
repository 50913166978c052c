"""Read arguments of ``pip install``, or of ``uv pip install``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Options whose value is a requirement.
_REQUIREMENT: Final = frozenset(
    {
        "-e",
        "-r",
        "--editable",
        "--group",
        "--requirement",
        "--requirements",
        "--requirements-from-script",
    }
)
#: Options without a value. Any other is taken to have one, so that an option that is
#: not known here never turns its value into a package.
_FLAGS: Final = frozenset(
    {
        *("-h", "-I", "-n", "-q", "-U", "-v", "-V"),
        "--all-extras",
        "--break-system-packages",
        "--check-build-dependencies",
        "--compile",
        "--compile-bytecode",
        "--debug",
        "--disable-pip-version-check",
        "--dry-run",
        "--exact",
        "--force-reinstall",
        "--help",
        "--ignore-installed",
        "--ignore-requires-python",
        "--isolated",
        "--native-tls",
        "--no-break-system-packages",
        "--no-build",
        "--no-build-isolation",
        "--no-cache",
        "--no-cache-dir",
        "--no-clean",
        "--no-color",
        "--no-compile",
        "--no-config",
        "--no-deps",
        "--no-dependencies",
        "--no-index",
        "--no-input",
        "--no-progress",
        "--no-python-downloads",
        "--no-python-version-warning",
        "--no-require-hashes",
        "--no-sources",
        "--no-use-pep517",
        "--no-verify-hashes",
        "--no-warn-conflicts",
        "--no-warn-script-location",
        "--offline",
        "--only-deps",
        "--pre",
        "--prefer-binary",
        "--quiet",
        "--refresh",
        "--reinstall",
        "--require-hashes",
        "--require-virtualenv",
        "--strict",
        "--system",
        "--upgrade",
        "--use-pep517",
        "--user",
        "--verbose",
        "--version",
    }
)


def names_requirements(arguments: Sequence[str]) -> bool:
    """Whether the arguments say what to install: a package, a file, a project."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-") or word == "-":
            return True
        if word == "--":
            return next(words, None) is not None
        option, value = _split(word)
        if option in _REQUIREMENT:
            return True
        if option not in _FLAGS and value is None:
            next(words, None)
    return False


def names_source(arguments: Sequence[str]) -> bool:
    """Whether the arguments say where packages come from."""
    return has_option(
        arguments,
        *("-i", "-f", "--index-url", "--extra-index-url", "--index"),
        *("--default-index", "--find-links", "--no-index", "--offline"),
    )


def has_option(arguments: Sequence[str], *options: str) -> bool:
    """Whether one of the options is among the arguments."""
    words = (word for word in arguments if word.startswith("-"))
    return any(_split(word)[0] in options for word in words)


def _split(word: str) -> tuple[str, str | None]:
    """Return an option and its value, where the word has it: ``-cFILE``, ``--x=y``.

    Of short options in one word, as in ``-Ur FILE``, only the last can have a value.
    """
    if word.startswith("--"):
        option, equals, value = word.partition("=")
        return option, value if equals else None
    letters = word.removeprefix("-")
    while len(letters) > 1 and f"-{letters[0]}" in _FLAGS:
        letters = letters[1:]
    return f"-{letters[:1]}", letters[1:] or None
