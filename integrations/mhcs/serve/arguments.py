"""The arguments that the environment gives an engine, and what is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand, Parser

from .variables import EngineVariable, write_arguments

_ALLOWED_ALIKE: Final = 0.6
_LEAVE_OUT_QUOTES: Final = "; the quotes are a part of the value: leave them out"


class Arguments(msgspec.Struct):
    """What the engine is told, and why it would refuse it: one message a variable."""

    words: list[str] = []
    problems: list[str] = []


def write_all(
    variables: Sequence[EngineVariable],
    command: EngineCommand,
    parser: Parser | None,
    others: Sequence[str] = (),
) -> Arguments:
    """Write all variables as arguments, checked by the parser if there is one.

    Args:
        others: further arguments, which follow.
    """
    written = Arguments()
    for variable in variables:
        words = write_arguments(variable, command, parser)
        if problem := _problem(variable, words, command, parser):
            written.problems.append(problem)
        written.words += words
    if parser is not None and not written.problems:
        together = [*written.words, *others]
        if reason := parser.refusal(together, are_all=True):
            written.problems.append(f"{command.executables[0]} refuses: {reason}")
    return written


def is_doubtful(variable: EngineVariable, command: EngineCommand) -> bool:
    """Whether the parser has to be asked how a variable is written, or if it may be."""
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
    # A misspelt name is one whatever the value adds.
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
    quotes = _LEAVE_OUT_QUOTES if variable.is_quoted else ""
    return f"{variable} is not allowed: {reason}{quotes}."


def _is_unknown(variable: EngineVariable, parser: Parser) -> bool:
    # Of JSON's fields, --option.field, the option is what is known.
    option = variable.flag.partition(".")[0]
    return not any(flag.startswith(option) for flag in parser.flags)


def _advice(variable: EngineVariable, command: EngineCommand, parser: Parser) -> str:
    close = difflib.get_close_matches(variable.flag, parser.flags, 1, _ALLOWED_ALIKE)
    if not close:
        return "."
    words = close[0].removeprefix("--").replace(command.separator, "_")
    return f": did you mean {command.prefix}{words.upper()}?"
