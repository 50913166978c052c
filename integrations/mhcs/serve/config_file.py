"""The options of the engine's own configuration file that matter to ``mhcs serve``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings

from .command_line import CommandLine
from .variables import EngineVariable


class ConfigFile(msgspec.Struct, frozen=True):
    """A configuration file of the engine.

    Args:
        source: ``NAME=FILE``, with the option or variable that names the file.
        is_on_command_line: whether an option names it, and not a variable.
        options: values by the names of options, without dashes.
    """

    source: str
    is_on_command_line: bool
    options: Mapping[str, Any]

    @property
    def model(self) -> str | None:
        model = self.options.get("model")
        return model if isinstance(model, str) and model else None

    def arguments(self) -> list[str]:
        """Return the options as command-line arguments."""
        return [*self._words()]

    def _words(self) -> Iterator[str]:
        for name, value in self.options.items():
            if value is False:
                continue
            yield f"--{name}"
            if value is not True:
                yield (
                    value if isinstance(value, str) else json.dumps(value, default=str)
                )

    def left_out(self) -> Iterator[str]:
        """Yield a note for options that are ignored."""
        if names := [name for name in ("host", "port") if name in self.options]:
            yield (
                f"{' and '.join(names)} of {self.source} are ignored, as mhcs serve "
                f"sets its own: write them behind serve, or set {Settings.port.name}."
            )


def read_config_file(
    command: EngineCommand, line: CommandLine, variables: Sequence[EngineVariable]
) -> ConfigFile | None:
    """Read the file that the command line names, or else a variable.

    Raises:
        ConfigurationError: the file cannot be read, or has no options.
    """
    if line.config is not None:
        return _read(command, *line.config, None)
    for variable in variables:
        if variable.flag in command.config_flags and not variable.is_empty:
            return _read(command, variable.name, variable.value, variable)
    return None


def _read(
    command: EngineCommand, name: str, file: str, variable: EngineVariable | None
) -> ConfigFile:
    try:
        options = command.read_config(Path(file))
    except ValueError as error:
        reason = str(error)
    else:
        return ConfigFile(f"{name}={file}", variable is None, options)
    raise ConfigurationError(name, file, reason)
