"""The arguments behind ``serve``, and options in lists of arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand


class CommandLine(msgspec.Struct, frozen=True):
    """The arguments behind ``serve``.

    ``config`` is the option that names a configuration file, and the file.
    ``arguments`` are those for the engine: without the model, and with that option as
    two arguments, as vLLM does not see it in ``--config=FILE``.
    """

    model: str | None
    config: tuple[str, str] | None
    arguments: Sequence[str]


def read_command_line(command: EngineCommand, arguments: Sequence[str]) -> CommandLine:
    """Find the model, which may be the first argument or an option, and the file.

    Raises:
        LookupError: there are several models.
    """
    rest = [*arguments]
    first = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    by_option = take(rest, command.model_flags)
    models = {name for name in (first, *by_option[-1:]) if name}
    if len(models) > 1:
        names = ", ".join(sorted(models))
        raise LookupError(f"There are several models behind serve: {names}. Name one.")
    files = [(f, file) for f in command.config_flags for file in take(rest, (f,))]
    config = files[-1] if files else None
    return CommandLine(next(iter(models), None), config, [*rest, *(config or ())])


def has_option(arguments: Sequence[str], flag: str) -> bool:
    """Whether an option is among arguments, with or without a value."""
    return any(_names(argument, (flag,)) for argument in arguments)


def last_value(arguments: Sequence[str], flags: Collection[str]) -> str | None:
    """Return the value of the option of which parsers take the last."""
    values = [value for _, _, value in _find(arguments, flags)]
    return values[-1] if values else None


def take(arguments: list[str], flags: Collection[str]) -> list[str]:
    """Remove an option wherever it is, and return its values."""
    found = [*_find(arguments, flags)]
    for start, end, _ in reversed(found):
        del arguments[start:end]
    return [value for _, _, value in found]


def _find(
    arguments: Sequence[str], flags: Collection[str]
) -> Iterator[tuple[int, int, str]]:
    """Yield where an option with a value begins and ends, and its value."""
    for at, argument in enumerate(arguments):
        if _names(argument, flags):
            _, equals, value = argument.partition("=")
            if equals:
                yield at, at + 1, value
            elif at + 1 < len(arguments):
                yield at, at + 2, arguments[at + 1]


def _names(argument: str, flags: Collection[str]) -> bool:
    # Engines take either of the two.
    name = argument.partition("=")[0].replace("_", "-")
    return name in {flag.replace("_", "-") for flag in flags}
