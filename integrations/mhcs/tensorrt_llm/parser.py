"""The parser of ``trtllm-serve``: importing this imports TensorRT-LLM."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import click
from tensorrt_llm.commands import serve


def make_parser() -> ClickParser | None:
    """Return the parser of the default subcommand, or None if it does not use click."""
    command = serve.serve
    return (
        ClickParser(command, ["model"]) if isinstance(command, click.Command) else None
    )


class ClickParser:
    """The ``Parser`` of a click command.

    Args:
        before: positional arguments that precede the options.
    """

    def __init__(self, command: click.Command, before: Sequence[str]) -> None:
        self._command = command
        self._before = before
        self._options = {
            flag: parameter
            for parameter in command.get_params(click.Context(command))
            if isinstance(parameter, click.Option)
            for flag in (*parameter.opts, *parameter.secondary_opts)
        }

    @property
    def flags(self) -> Collection[str]:
        return [flag for flag in self._options if flag.startswith("--")]

    def write_list(self, flag: str, text: str, elements: Sequence[str]) -> list[str]:
        option = self._options.get(flag)
        if option is not None and option.multiple:
            return [word for element in elements for word in (flag, element)]
        if option is not None and option.nargs == 1 and len(elements) > 1:
            return [flag, text]
        return [flag, *elements] if elements else []

    def refusal(self, arguments: Sequence[str], *, are_all: bool) -> str | None:
        del are_all
        name = self._command.name or ""
        try:
            self._command.make_context(name, [*self._before, *arguments])
        except click.exceptions.Exit:
            return "it prints something and exits, without starting a server"
        except click.ClickException as error:
            return error.format_message()
        return None
