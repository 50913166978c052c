"""The inputs of ``mhcs serve``: environment and command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand

from .arguments import Arguments, is_doubtful, write_all
from .command_line import CommandLine, read_command_line
from .config_file import ConfigFile, read_config_file
from .engines import choose_engine
from .variables import EngineVariable, read_variables


class Inputs(msgspec.Struct, frozen=True):
    """The chosen engine, and all options that are given for it.

    Args:
        variables: the engine's variables.
        config: the engine's configuration file, if one is named.
        written: the variables as arguments, converted without the engine's parser.
    """

    engine: str
    command: EngineCommand
    line: CommandLine
    variables: Sequence[EngineVariable]
    config: ConfigFile | None
    written: Arguments

    def options(self) -> list[str]:
        """Return all options as arguments, in increasing order of precedence."""
        from_file = self.config.arguments() if self.config is not None else ()
        return [*from_file, *self.written.words, *self.line.arguments]

    def is_in_doubt(self) -> bool:
        """Whether a variable can only be converted by the engine's parser."""
        return any(is_doubtful(variable, self.command) for variable in self.variables)


def read_inputs(environ: Mapping[str, str], arguments: Sequence[str]) -> Inputs:
    """Choose the engine, and read its variables and the command line.

    Raises:
        ConfigurationError: a variable names no option, or a file that cannot be used.
        LookupError: no engine is installed, the choice is ambiguous, or several
            models are named.
    """
    engine, command = choose_engine(environ)
    line = read_command_line(command, arguments)
    # Engines read a single file: the command line's replaces that of a variable.
    replaced = command.config_flags if line.config is not None else ()
    variables = [
        variable
        for variable in read_variables(command, environ)
        if variable.flag not in replaced
    ]
    config = read_config_file(command, line, variables)
    written = write_all(variables, command, None)
    return Inputs(engine, command, line, variables, config, written)
