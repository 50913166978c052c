"""How a server of an engine is started from a command line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

if TYPE_CHECKING:
    from ..settings import Settings

#: The status of a program whose parser has refused its arguments, as argparse and click
#: have it. To start it again changes nothing.
USAGE_ERROR: Final = 2


class Parser(Protocol):
    """An engine's own parser of its command line, as far as arguments are checked."""

    @property
    def flags(self) -> Collection[str]:
        """The long options, such as ``--dtype``."""

    def write_list(self, flag: str, text: str, elements: Sequence[str]) -> list[str]:
        """Return a list as the arguments that the option takes.

        Args:
            text: the list as it was given.
            elements: its elements.
        """

    def refusal(self, arguments: Sequence[str], *, are_all: bool) -> str | None:
        """Return why the parser refuses arguments; None if it does not.

        Args:
            are_all: there are no others, so that what needs another one can be told.
        """


class EngineCommand:
    """The command that serves a model. Its defaults fit most engines.

    Nothing but :meth:`parser` imports the engine.
    """

    #: Names of the executables, of which ``mhcs serve`` runs the first.
    executables: ClassVar[Sequence[str]]
    #: What variables with arguments begin with, such as ``"SM_VLLM_"``.
    prefix: ClassVar[str]
    #: What variables begin with that the engine itself reads, such as ``"VLLM_"``.
    engine_prefix: ClassVar[str | None] = None
    #: What options have between words, where variables have ``_``.
    separator: ClassVar[str] = "-"
    #: Options that name the model.
    model_flags: ClassVar[Collection[str]] = ("--model",)
    #: Options that name a file with further options.
    config_flags: ClassVar[Sequence[str]] = ()
    #: Options that take a JSON array in one argument, where there is no parser to ask.
    array_flags: ClassVar[Collection[str]] = ()
    #: Names of the engine's functions that check arguments which its parser has taken.
    checking_functions: ClassVar[Collection[str]] = ()

    def command(self, model: str | None) -> list[str]:
        """Return the executable and what goes before all options.

        Args:
            model: None where a configuration file names it.
        """
        return [self.executables[0], *([model] if model is not None else [])]

    def flag(self, words: str) -> str:
        """Return the option that ``words``, the end of a variable's name, stand for."""
        return f"--{words.lower().replace('_', self.separator)}"

    def model_in(
        self, folder: Path, files: Collection[str], given: Sequence[str]
    ) -> tuple[str, list[str]]:
        """Return what to serve of a model folder, and the options that it needs.

        Args:
            files: the names of the files in it.
            given: the options that were given.

        Raises:
            LookupError: the engine cannot choose.
        """
        del files, given
        return str(folder), []

    def read_config(self, file: Path) -> dict[str, Any]:
        """Return the options in a configuration file that the command line could have.

        Raises:
            ValueError: the file cannot be used; the text says why.
        """
        del file
        return {}

    def default_arguments(self, settings: Settings, given: Sequence[str]) -> list[str]:
        """Return options that variables of any engine stand for.

        Args:
            given: the options that were given, which win.

        Raises:
            ConfigurationError: a variable does not fit them.
        """
        del settings, given
        return []

    def unused(self, settings: Settings) -> Iterable[str]:
        """Say which variables do nothing for this engine, and what does it instead."""
        del settings
        return ()

    def mentions(self, flag: str) -> bool:
        """Whether the engine's sources speak of an option.

        A quick look, as its parser takes long to ask: what is not mentioned is likely
        to be misspelt.
        """
        del flag
        return True

    def parser(self) -> Parser | None:
        """Import the engine, and return its parser; None where it has none."""
        return None
