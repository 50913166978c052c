"""Keys of supervisord's configuration that environment variables set.

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
#: supervisord's name for the container's command.
PROGRAM: Final = "app"
#: Variables with the same prefix that do not set a key: ours, and supervisord's own.
_NOT_ADDITIONS: Final = frozenset(
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
#: Sections with a name behind a colon, as in ``program:app``.
_WITH_NAME: Final = ("program", "eventlistener", "fcgi-program", "group")
#: Sections that cannot be set by a variable.
_UNSUPPORTED: Final = ("include", "rpcinterface", "supervisorctl", "ctlplugin")
_SECTION_PREFIXES: Final = tuple(
    f"{section}_" for section in (*_WITHOUT_NAME, *_WITH_NAME, *_UNSUPPORTED)
)


def find_additions(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the (section, key, value) that each variable sets.

    Raises:
        ConfigurationError: a variable names a section, but not a known key.
    """
    return [
        (*_split(name, value), value)
        for name, value in _candidates(environ)
        if _means_section(name)
    ]


def find_ignored(environ: Mapping[str, str]) -> list[str]:
    """Return variables with the prefix that name no section; no service links."""
    return [name for name, _ in _candidates(environ) if not _means_section(name)]


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(environ.items()):
        is_ours = name.startswith(PREFIX) and name not in _NOT_ADDITIONS
        if is_ours and value.strip() and not is_service_link(name, value):
            yield name, value


def _means_section(name: str) -> bool:
    """Whether a variable is meant to set a key of supervisord.

    Other software uses the prefix too, as in ``SUPERVISOR_TOKEN``. Such variables have
    no ``__`` and do not begin with the name of a section.
    """
    rest = name.removeprefix(PREFIX).lower()
    return "__" in rest or rest.startswith(_SECTION_PREFIXES)


def _split(name: str, value: str) -> tuple[str, str]:
    """Return the section and the key of a variable.

    Both may contain ``_``, so that the table of keys decides where the key begins.

    Raises:
        ConfigurationError: supervisord has no such key, or the value has several lines.
    """
    if "\n" in value:
        raise ConfigurationError(name, None, "supervisord takes one line")
    rest = name.removeprefix(PREFIX).lower()
    # The longest match first: `stdout_logfile` ends in `logfile`.
    for key in sorted(KEYS, key=len, reverse=True):
        section = _section(rest.removesuffix(f"_{key}"))
        if section != _section(rest) and _is_section(section):
            return section, key
    raise ConfigurationError(name, None, _advice(rest))


def _advice(rest: str) -> str:
    example = f"{PREFIX}PROGRAM__{PROGRAM.upper()}_STOPWAITSECS"
    for split in (index for index, letter in enumerate(rest) if letter == "_"):
        if _is_section(_section(rest[:split])):
            for key in difflib.get_close_matches(rest[split + 1 :], KEYS, 1, 0.8):
                example = f"{PREFIX}{rest[: split + 1]}{key}".upper()
    return f"write a section and a key of supervisord, as in {example}"


def _section(words: str) -> str:
    return words.replace("__", ":")


def _is_section(name: str) -> bool:
    kind, _, own = name.partition(":")
    return kind in _WITH_NAME if own else name in _WITHOUT_NAME
