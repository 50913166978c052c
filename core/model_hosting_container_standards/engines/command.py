"""The command line that starts an engine's server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

if TYPE_CHECKING:
    from ..settings import Settings

#: The exit status of argparse and click for rejected arguments. Restarting the program
#: cannot help.
USAGE_ERROR: Final = 2


class Parser(Protocol):
    """An engine's own command line parser, used to check arguments before the start."""

    @property
    def flags(self) -> Collection[str]:
        """The long options, such as ``--dtype``."""

    def write_list(self, flag: str, text: str, elements: Sequence[str]) -> list[str]:
        """Return the command line arguments that pass a list to an option.

        Args:
            flag: the option.
            text: the list as it was given, a JSON array.
            elements: the list's elements.
        """

    def refusal(self, arguments: Sequence[str], *, are_all: bool) -> str | None:
        """Return why the parser rejects the arguments; None if it accepts them.

        Args:
            arguments: the arguments after the command.
            are_all: the arguments are complete, so missing ones can be reported.
        """


class EngineCommand:
    """The command that serves a model. The defaults fit most engines.

    Only :meth:`parser` imports the engine.
    """

    #: Names of the engine's executables; ``mhcs serve`` runs the first.
    executables: ClassVar[Sequence[str]]
    #: The prefix of variables that stand for arguments, such as ``"SM_VLLM_"``.
    prefix: ClassVar[str]
    #: The prefix of variables that the engine itself reads, such as ``"VLLM_"``.
    engine_prefix: ClassVar[str | None] = None
    #: Replaces the ``_`` of variables between the words of an option.
    separator: ClassVar[str] = "-"
    #: Options that name the model.
    model_flags: ClassVar[Collection[str]] = ("--model",)
    #: Variables that name the model, without the prefix; the first one is advised.
    model_variables: ClassVar[Sequence[str]] = ("MODEL",)
    #: Options that name a file with further options.
    config_flags: ClassVar[Sequence[str]] = ()
    #: Options that take a JSON array as one argument, for engines without a parser.
    array_flags: ClassVar[Collection[str]] = ()
    #: Names of the engine's functions that validate arguments after parsing.
    checking_functions: ClassVar[Collection[str]] = ()

    def command(self, model: str | None) -> list[str]:
        """Return the executable and the arguments before all options.

        Args:
            model: the model; None: a configuration file names it.
        """
        return [self.executables[0], *([model] if model is not None else [])]

    def flag(self, words: str) -> str:
        """Return the option for ``words``, a variable's name without its prefix."""
        return f"--{words.lower().replace('_', self.separator)}"

    def model_in(
        self, folder: Path, files: Collection[str], given: Sequence[str]
    ) -> tuple[str, list[str]]:
        """Return the model to serve from a model folder, and the options it needs.

        Args:
            folder: the model folder.
            files: the names of the files in it.
            given: the options that the operator gave.

        Raises:
            LookupError: the folder's model is ambiguous.
        """
        del files, given
        return str(folder), []

    def read_config(self, file: Path) -> dict[str, Any]:
        """Return the command line options that a configuration file sets.

        Raises:
            ValueError: the file cannot be used; the text says why.
        """
        del file
        return {}

    def default_arguments(self, settings: Settings, given: Sequence[str]) -> list[str]:
        """Return the options that engine-independent variables stand for.

        Args:
            settings: the environment variables.
            given: the options that the operator gave, which take precedence.

        Raises:
            ConfigurationError: a variable contradicts them.
        """
        del settings, given
        return []

    def has_server(self, arguments: Sequence[str]) -> bool:
        """Return whether the command has an HTTP server.

        On several machines, the server of one may use engines of the others, whose
        commands have none. Such a command must run as long as the server: it has not
        finished when it exits, whatever its status.

        Args:
            arguments: those after the executable.
        """
        del arguments
        return True

    def unused(self, settings: Settings) -> Iterable[str]:
        """Return messages on variables without effect for this engine, with advice."""
        del settings
        return ()

    def mentions(self, flag: str) -> bool:
        """Return whether the engine's source code contains an option's name.

        A quick check, because importing the parser is slow; an option that is not
        mentioned is probably misspelt.
        """
        del flag
        return True

    def parser(self) -> Parser | None:
        """Import the engine, and return its parser, if it has one."""
        return None
