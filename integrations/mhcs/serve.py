"""``mhcs serve``: the engine of an image, with arguments from the environment."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from model_hosting_container_standards.common.handler.resolver import (
    check_customer_script,
)
from model_hosting_container_standards.config import READ_BY_SERVERS, Settings
from model_hosting_container_standards.exceptions import ConfigurationError

#: An array for one of these is one argument, which vLLM reads as JSON.
_JSON_FLAGS: Final = frozenset(
    {"--allowed-headers", "--allowed-methods", "--allowed-origins", "--middleware"}
)
_MODEL: Final = "MODEL"
#: What lies in a model folder beside Python sources, and is no model.
_CODE: Final = frozenset({"requirements", "requirements.txt", "__pycache__"})


class Launch(msgspec.Struct, frozen=True):
    """How an engine is started.

    ``between`` is what its flags have between words, where variables have ``_``.
    """

    module: str
    command: Sequence[str]
    prefix: str
    between: str


LAUNCHES: Final = (
    Launch("vllm", ["vllm", "serve"], "SM_VLLM_", "-"),
    Launch("tensorrt_llm", ["trtllm-serve"], "SM_TRTLLM_", "_"),
)


def command_of(
    settings: Settings, environ: Mapping[str, str], arguments: Sequence[str]
) -> list[str]:
    """Return the command that serves the model of this image.

    ``arguments`` are those of the command line, which win: a first one that is no flag
    is the model.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
        HandlerResolutionError: the customer script is missing, or is no Python.
        LookupError: there is no engine, more than one, or no model.
    """
    check_server(settings)
    launch = choose_launch(environ)
    arguments = [*arguments]
    given = arguments and not arguments[0].startswith("-")
    model = arguments.pop(0) if given else find_model(launch, settings, environ)
    executable, *more = launch.command
    return [
        executable_path(executable),
        *more,
        model,
        *("--host", "0.0.0.0"),
        *("--port", str(settings.port)),
        *flags_of(launch, environ),
        *arguments,
    ]


def check_server(settings: Settings) -> None:
    """Look at what every server reads: it would find what is wrong after minutes only.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
        HandlerResolutionError: the customer script is missing, or is no Python.
    """
    for variable in READ_BY_SERVERS:
        variable.read(settings)
    check_customer_script(settings)


def choose_launch(environ: Mapping[str, str]) -> Launch:
    """Return how the engine is started that is installed here."""
    installed = [launch for launch in LAUNCHES if find_spec(launch.module)]
    meant = [
        launch
        for launch in installed
        if any(name.startswith(launch.prefix) for name in environ)
    ]
    match meant or installed:
        case [launch]:
            return launch
        case []:
            raise LookupError("No engine is installed here: install vllm.")
    raise LookupError(
        "More than one engine is installed here: say which one by a variable of its "
        f"own, such as {LAUNCHES[0].prefix}{_MODEL}."
    )


def find_model(launch: Launch, settings: Settings, environ: Mapping[str, str]) -> str:
    """Return the model: the variable's, the model folder, or the hub's."""
    name = launch.prefix + _MODEL
    if model := environ.get(name, "").strip():
        return model
    if has_model(settings.model_path):
        return str(settings.model_path)
    if model := environ.get("HF_MODEL_ID", "").strip():
        return model
    raise LookupError(
        f"There is no model: put one into {settings.model_path}, or set {name} or "
        "HF_MODEL_ID."
    )


def has_model(folder: Path) -> bool:
    """Whether there is more in a folder than a customer's code."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir() if path.suffix != ".py"}
    return bool(names - _CODE)


def flags_of(launch: Launch, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the arguments that the engine's variables say.

    Raises:
        ConfigurationError: a variable names no argument.
    """
    for name in sorted(environ):
        if name.startswith(launch.prefix) and name != launch.prefix + _MODEL:
            words = name.removeprefix(launch.prefix).lower()
            if not words.strip("_"):
                allowed = f"put an argument's name behind {launch.prefix}"
                raise ConfigurationError(name, environ[name], allowed)
            flag = f"--{words.replace('_', launch.between)}"
            yield from _flag(flag, environ[name])


def _flag(flag: str, value: str) -> list[str]:
    if value.strip().lower() == "false":
        return []
    if value.strip().lower() in ("", "true"):
        return [flag]
    if flag not in _JSON_FLAGS and (elements := _array(value)) is not None:
        return [flag, *map(_argument, elements)] if elements else []
    return [flag, *(_objects(value) or [value])]


def _array(value: str) -> list[Any] | None:
    try:
        document = json.loads(value)
    except ValueError:
        return None
    return document if isinstance(document, list) else None


def _argument(element: Any) -> str:
    return element if isinstance(element, str) else json.dumps(element)


def _objects(value: str) -> list[str]:
    """Return JSON objects that stand one after the other, each as it is written."""
    found = []
    decoder, rest = json.JSONDecoder(), value.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except ValueError:
            return []
        if not isinstance(document, dict):
            return []
        found.append(rest[:end])
        rest = rest[end:].lstrip()
    return found


def executable_path(name: str) -> str:
    """Return the command: the one beside this Python, or else on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else (shutil.which(name) or name)
