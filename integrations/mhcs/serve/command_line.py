"""Parse the arguments of ``mhcs serve``, and find options among arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand


class CommandLine(msgspec.Struct, frozen=True):
    """The arguments of ``mhcs serve``.

    Args:
        config: the option that names the engine's configuration file, and the file.
        arguments: those for the engine, without the model. The option of ``config`` is
            split in two, as vLLM does not support ``--config=FILE``.
    """

    model: str | None
    config: tuple[str, str] | None
    arguments: Sequence[str]


def read_command_line(command: EngineCommand, arguments: Sequence[str]) -> CommandLine:
    """Parse the arguments; the model may be the first argument or an option.

    Raises:
        LookupError: there are several models.
    """
    rest = [*arguments]
    first = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    by_option = take(rest, command.model_flags)
    models = {name for name in (first, *by_option[-1:]) if name}
    if len(models) > 1:
        names = ", ".join(sorted(models))
        raise LookupError(f"Several models are given behind serve: {names}. Give one.")
    flags = command.config_flags
    files = [(flag, file) for flag in flags for file in take(rest, (flag,))]
    config = files[-1] if files else None
    return CommandLine(next(iter(models), None), config, [*rest, *(config or ())])


def has_option(arguments: Sequence[str], flag: str) -> bool:
    """Whether an option is among arguments, with or without a value."""
    return any(_names(argument, (flag,)) for argument in arguments)


def last_value(arguments: Sequence[str], flags: Collection[str]) -> str | None:
    """Return the last value of an option, which is the one that parsers use."""
    values = [value for _, _, value in _find(arguments, flags)]
    return values[-1] if values else None


def take(arguments: list[str], flags: Collection[str]) -> list[str]:
    """Remove all occurrences of an option, and return its values."""
    matches = [*_find(arguments, flags)]
    for start, end, _ in reversed(matches):
        del arguments[start:end]
    return [value for _, _, value in matches]


def _find(
    arguments: Sequence[str], flags: Collection[str]
) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and value of each occurrence of an option with a value."""
    for index, argument in enumerate(arguments):
        if _names(argument, flags):
            _, equals, value = argument.partition("=")
            if equals:
                yield index, index + 1, value
            elif index + 1 < len(arguments):
                yield index, index + 2, arguments[index + 1]


def _names(argument: str, flags: Collection[str]) -> bool:
    # Engines accept both - and _.
    name = argument.partition("=")[0].replace("_", "-")
    return name in {flag.replace("_", "-") for flag in flags}
