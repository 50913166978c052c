"""Variables that stand for options of an engine, and what they are as arguments."""

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
#: What messages show instead of a secret.
HIDDEN: Final = "(hidden)"
#: Found in names, misspelt ones too, whose values are shown to nobody. Of tokens, a
#: model has many: MAX_NUM_BATCHED_TOKENS, LONG_PREFILL_TOKEN_THRESHOLD.
_SECRET: Final = re.compile(
    r"KEY(?!WORD)|(^|_)(CREDENTIAL|PASSW|SECRET|TOKEN$)", re.IGNORECASE
)


class EngineVariable(msgspec.Struct, frozen=True):
    """A variable of the environment, and the option that it stands for."""

    name: str
    value: str
    flag: str

    def __str__(self) -> str:
        """Return the variable with its value, as messages show it."""
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
        """Whether the value has quotes of its own, as files of variables leave them."""
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
    """Return the engine's variables, in the order of their names, but for the model.

    Raises:
        ConfigurationError: one names no option.
    """
    model = command.prefix + MODEL
    return [
        EngineVariable(name, value, _flag(command, name, value))
        for name, value in sorted(environ.items())
        if name.startswith(command.prefix)
        and name != model
        and not is_service_link(name, value)
    ]


def read_service_links(command: EngineCommand, environ: Mapping[str, str]) -> list[str]:
    """Return the names of variables that only begin as the engine's do."""
    return [
        name
        for name, value in sorted(environ.items())
        if name.startswith(command.prefix) and is_service_link(name, value)
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
    """Return what the engine is told.

    The parser says how an option takes a list. Where there is none, a list is one
    argument for each element, but for options that are known to read JSON.
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
    """Return a JSON document, or None where there is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_array(value: str) -> list[Any] | None:
    """Return the elements of a JSON array; None where a value is not one."""
    document = read_json(value)
    return document if isinstance(document, list) else None


def read_objects(value: str) -> list[str]:
    """Return JSON objects that stand one after the other, each as it is written."""
    found = []
    decoder, rest = json.JSONDecoder(), value.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return []
        if not isinstance(document, dict):
            return []
        found.append(rest[:end])
        rest = rest[end:].lstrip()
    return found


def _argument(element: Any) -> str:
    return element if isinstance(element, str) else json.dumps(element)


def _unquoted(value: str) -> Sequence[str]:
    """Return what may be between the quotes: as it stands, and without escapes."""
    value = value.strip()
    escaped = read_json(value)
    return [value[1:-1], *([escaped] if isinstance(escaped, str) else [])]


def is_secret(name: str) -> bool:
    """Whether a variable's name says that its value is to be shown to nobody."""
    return _SECRET.search(name) is not None
