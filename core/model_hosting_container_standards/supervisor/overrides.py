"""What the environment adds to supervisord's configuration, key by key.

``SUPERVISOR_{SECTION}_{KEY}`` sets a key; ``__`` in a section's name is ``:``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from ..exceptions import ConfigurationError
from ..settings import Settings
from ..settings.service_links import is_service_link
from .known_keys import KEYS

PREFIX: Final = "SUPERVISOR_"
#: The program that a container is there for.
PROGRAM: Final = "app"
#: What begins as an addition does, and is none: ours, and supervisord's own.
_OTHERS: Final = frozenset(
    {
        Settings.supervisor_config.name,
        "SUPERVISOR_ENABLED",
        "SUPERVISOR_GROUP_NAME",
        "SUPERVISOR_PROCESS_NAME",
        "SUPERVISOR_SERVER_URL",
    }
)
SERVERS: Final = frozenset({"inet_http_server", "unix_http_server"})
_WITHOUT_NAME: Final = SERVERS | {"supervisord"}
#: Sections with names of their own, behind a colon.
_WITH_NAME: Final = ("program", "eventlistener", "fcgi-program", "group")
#: Sections of supervisord's that cannot be set here.
_NOT_HERE: Final = ("include", "rpcinterface", "supervisorctl", "ctlplugin")
_BEGINNINGS: Final = tuple(
    f"{section}_" for section in (*_WITHOUT_NAME, *_WITH_NAME, *_NOT_HERE)
)


def find_additions(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return section, key and value of each addition.

    Raises:
        ConfigurationError: a variable means a section, but names no key of it.
    """
    return [
        (*_split(name, value), value)
        for name, value in _candidates(environ)
        if _means_section(name)
    ]


def find_ignored(environ: Mapping[str, str]) -> list[str]:
    """Return variables that only begin as additions do, but for service links."""
    return [name for name, _ in _candidates(environ) if not _means_section(name)]


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(environ.items()):
        begins = name.startswith(PREFIX) and name not in _OTHERS
        if begins and value.strip() and not is_service_link(name, value):
            yield name, value


def _means_section(name: str) -> bool:
    """Whether a variable is meant for supervisord, however it goes on.

    Others use the prefix too: a platform whose supervisor has a token, say. None of
    them has a ``__``, or begins with the name of a section.
    """
    rest = name.removeprefix(PREFIX).lower()
    return "__" in rest or rest.startswith(_BEGINNINGS)


def _split(name: str, value: str) -> tuple[str, str]:
    """Return the section and the key: both may have ``_`` in them, so keys are known.

    Raises:
        ConfigurationError: supervisord has no such key, or could not read the value.
    """
    if "\n" in value:
        raise ConfigurationError(name, None, "supervisord takes one line")
    rest = name.removeprefix(PREFIX).lower()
    # The longest key that fits: `logfile` is the end of `stdout_logfile`.
    for key in sorted(KEYS, key=len, reverse=True):
        section = _section(rest.removesuffix(f"_{key}"))
        if section != _section(rest) and _is_section(section):
            return section, key
    raise ConfigurationError(name, None, _advice(rest))


def _advice(rest: str) -> str:
    example = f"{PREFIX}PROGRAM__{PROGRAM.upper()}_STOPWAITSECS"
    # The shortest section first, and so the longest key.
    for at in (at for at, letter in enumerate(rest) if letter == "_"):
        if _is_section(_section(rest[:at])):
            for close in difflib.get_close_matches(rest[at + 1 :], KEYS, 1, 0.8):
                example = f"{PREFIX}{rest[: at + 1]}{close}".upper()
    return f"write a section and a key of supervisord, as in {example}"


def _section(words: str) -> str:
    return words.replace("__", ":")


def _is_section(name: str) -> bool:
    kind, _, own = name.partition(":")
    return kind in _WITH_NAME if own else name in _WITHOUT_NAME
