"""Environment variables for options of an engine, and their conversion to arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand, Parser
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings.service_links import is_service_link

MODEL: Final = "MODEL"
_QUOTES: Final = ("'", '"')
#: Shown in messages instead of a secret.
HIDDEN: Final = "(hidden)"
#: Parts of names, misspelt ones too, of variables whose values are secret. TOKEN only
#: counts at the end, as in MAX_NUM_BATCHED_TOKENS it counts a model's tokens.
_SECRET: Final = re.compile(
    r"KEY(?!WORD)|(^|_)(CREDENTIAL|PASSW|SECRET|TOKEN$)", re.IGNORECASE
)


class EngineVariable(msgspec.Struct, frozen=True):
    """An environment variable, and the option (``flag``) that it sets."""

    name: str
    value: str
    flag: str

    def __str__(self) -> str:
        """Return ``NAME='value'`` for messages, with a secret hidden."""
        return f"{self.name}={HIDDEN if self.is_secret else repr(self.value)}"

    @property
    def is_secret(self) -> bool:
        return is_secret(self.name)

    @property
    def is_empty(self) -> bool:
        return not self.value.strip()

    @property
    def is_list(self) -> bool:
        return read_array(self.value) is not None or len(read_objects(self.value)) > 1

    @property
    def is_quoted(self) -> bool:
        """Whether the value is in quotes, which env files do not remove."""
        value = self.value.strip()
        return len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES

    @property
    def is_quoted_json(self) -> bool:
        return self.is_quoted and any(
            isinstance(read_json(text), (dict, list)) for text in _unquoted(self.value)
        )


def read_variables(
    command: EngineCommand, environ: Mapping[str, str]
) -> list[EngineVariable]:
    """Return the engine's variables, sorted by name, without the model's.

    Raises:
        ConfigurationError: a variable names no option.
    """
    models = {command.prefix + name for name in command.model_variables}
    return [
        EngineVariable(name, value, _flag(command, name, value))
        for name, value in sorted(environ.items())
        if name.startswith(command.prefix)
        and name not in models
        and not is_service_link(name, value)
    ]


def _flag(command: EngineCommand, name: str, value: str) -> str:
    words = name.removeprefix(command.prefix)
    if not words.strip("_"):
        allowed = f"put an option's name behind {command.prefix}"
        raise ConfigurationError(name, value, allowed)
    return command.flag(words)


def write_arguments(
    variable: EngineVariable, command: EngineCommand, parser: Parser | None
) -> list[str]:
    """Return the arguments for a variable.

    "true" and "" give the bare option, "false" none. The parser tells how an option
    takes a list. Without a parser, a list becomes one argument per element, except for
    options that are known to read JSON.
    """
    flag, value = variable.flag, variable.value
    word = value.strip().lower()
    if word == "false":
        return []
    if word in ("", "true"):
        return [flag]
    array = read_array(value)
    elements = read_objects(value) if array is None else [*map(_argument, array)]
    if array is None and len(elements) < 2:
        return [flag, *(elements or [value])]
    if parser is not None:
        return parser.write_list(flag, value, elements)
    if array is not None and flag in command.array_flags:
        return [flag, value]
    return [flag, *elements] if elements else []


def read_json(text: str) -> Any:
    """Return a JSON document; None if the text is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_array(value: str) -> list[Any] | None:
    """Return the elements of a JSON array; None if the value is not one."""
    document = read_json(value)
    return document if isinstance(document, list) else None


def read_objects(value: str) -> list[str]:
    """Return the texts of concatenated JSON objects; empty if the value is not that."""
    texts = []
    decoder, rest = json.JSONDecoder(), value.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return []
        if not isinstance(document, dict):
            return []
        texts.append(rest[:end])
        rest = rest[end:].lstrip()
    return texts


def _argument(element: Any) -> str:
    return element if isinstance(element, str) else json.dumps(element)


def _unquoted(value: str) -> Sequence[str]:
    """Return the text between the quotes, as it is and with escapes decoded."""
    value = value.strip()
    escaped = read_json(value)
    return [value[1:-1], *([escaped] if isinstance(escaped, str) else [])]


def is_secret(name: str) -> bool:
    """Whether the value of a variable with this name must not be shown."""
    return _SECRET.search(name) is not None
