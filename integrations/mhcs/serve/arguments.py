"""Convert an engine's environment variables to arguments, and validate them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand, Parser

from .variables import EngineVariable, write_arguments

_MIN_SIMILARITY: Final = 0.6
_QUOTES_ADVICE: Final = "; the quotes are a part of the value: leave them out"


class Arguments(msgspec.Struct):
    """Arguments for an engine, and why it would reject them: a message per variable."""

    words: list[str] = []
    problems: list[str] = []


def write_all(
    variables: Sequence[EngineVariable],
    command: EngineCommand,
    parser: Parser | None,
    others: Sequence[str] = (),
) -> Arguments:
    """Convert all variables to arguments, and check them if there is a parser.

    Args:
        others: further arguments, which are only checked.
    """
    written = Arguments()
    for variable in variables:
        words = write_arguments(variable, command, parser)
        if problem := _problem(variable, words, command, parser):
            written.problems.append(problem)
        written.words += words
    if parser is not None and not written.problems:
        all_words = [*written.words, *others]
        if reason := parser.refusal(all_words, are_all=True):
            program = command.executables[0]
            written.problems.append(f"{program} rejects its arguments: {reason}")
    return written


def is_doubtful(variable: EngineVariable, command: EngineCommand) -> bool:
    """Whether only the engine's parser can tell how to write a variable, if at all."""
    doubtful = variable.is_empty or variable.is_list or variable.is_quoted
    return doubtful or not command.mentions(variable.flag)


def _problem(
    variable: EngineVariable,
    words: Sequence[str],
    command: EngineCommand,
    parser: Parser | None,
) -> str | None:
    if variable.is_quoted_json:
        return f"{variable} is not allowed: the JSON is in quotes: leave them out."
    if parser is None:
        return None
    # Without arguments (a value of "false") the name is still checked.
    reason = parser.refusal(words or [variable.flag], are_all=False)
    if reason is not None and _is_unknown(variable, parser):
        name, program = variable.name, command.executables[0]
        advice = _advice(variable, command, parser)
        return f"{name} is set, but {program} has no option {variable.flag}{advice}"
    if reason is None or not words:
        return None
    reason = reason.rstrip(".")
    if variable.is_empty:
        advice = "Set a value, or unset the variable."
        return f"{variable.name} is empty: {reason}. {advice}"
    if variable.is_secret:
        reason = f"{variable.flag} does not take it"
    quotes = _QUOTES_ADVICE if variable.is_quoted else ""
    return f"{variable} is not allowed: {reason}{quotes}."


def _is_unknown(variable: EngineVariable, parser: Parser) -> bool:
    # For --option.field, which sets a field of JSON, only the option is known.
    option = variable.flag.partition(".")[0]
    return not any(flag.startswith(option) for flag in parser.flags)


def _advice(variable: EngineVariable, command: EngineCommand, parser: Parser) -> str:
    matches = difflib.get_close_matches(variable.flag, parser.flags, 1, _MIN_SIMILARITY)
    if not matches:
        return "."
    words = matches[0].removeprefix("--").replace(command.separator, "_")
    return f": did you mean {command.prefix}{words.upper()}?"
