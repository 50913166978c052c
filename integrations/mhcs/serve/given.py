"""What the environment and the command line say, before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand

from .arguments import Arguments, is_doubtful, write_all
from .command_line import CommandLine, read_command_line
from .config_file import ConfigFile, read_config_file
from .engines import choose_engine
from .variables import EngineVariable, read_variables


class Given(msgspec.Struct, frozen=True):
    """An engine, and what it is to be told.

    ``written`` are the variables as arguments, by rules alone.
    """

    engine: str
    command: EngineCommand
    line: CommandLine
    variables: Sequence[EngineVariable]
    config: ConfigFile | None
    written: Arguments

    def options(self) -> list[str]:
        """Return all options as words, those that win last."""
        of_file = self.config.arguments() if self.config is not None else ()
        return [*of_file, *self.written.words, *self.line.arguments]

    def is_in_doubt(self) -> bool:
        """Whether the engine's parser has to be asked how something is written."""
        return any(is_doubtful(variable, self.command) for variable in self.variables)


def read_given(environ: Mapping[str, str], arguments: Sequence[str]) -> Given:
    """Read the variables of the engine that is installed, and the command line.

    Raises:
        ConfigurationError: a variable names no option, or a file that cannot be used.
        LookupError: there is no engine, or more than one; several models are named.
    """
    engine, command = choose_engine(environ)
    line = read_command_line(command, arguments)
    # The command line's file takes the place of a variable's: engines read one.
    left_out = command.config_flags if line.config is not None else ()
    variables = [
        variable
        for variable in read_variables(command, environ)
        if variable.flag not in left_out
    ]
    config = read_config_file(command, line, variables)
    written = write_all(variables, command, None)
    return Given(engine, command, line, variables, config, written)
