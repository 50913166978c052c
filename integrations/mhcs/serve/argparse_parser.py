"""The ``Parser`` of engines that use argparse."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import Final, NoReturn

#: Exceptions that converters and checks of values raise.
_REJECTIONS: Final = (AssertionError, LookupError, OSError, TypeError, ValueError)

_LISTS: Final = (list, set, tuple)

Check = Callable[[argparse.Namespace], object]


class _ParserError(ValueError):
    """The message that argparse would have printed before exiting."""


class ArgparseParser:
    """The ``Parser`` of an engine that uses argparse.

    Args:
        parser: parses the whole command line.
        options: the parser with the options: ``parser`` itself, or a subcommand's.
        before: arguments that must precede any option.
        check: validates the parsed arguments together; raises if they are invalid.
    """

    def __init__(
        self,
        parser: argparse.ArgumentParser,
        options: argparse.ArgumentParser,
        before: Sequence[str] = (),
        check: Check | None = None,
    ) -> None:
        self._parser = parser
        self._before = before
        self._check = check
        # argparse has no public list of options.
        self._actions = options._option_string_actions
        for each in (parser, options):
            each.error = _raise_error  # type: ignore[method-assign]

    @property
    def flags(self) -> Collection[str]:
        return [flag for flag in self._actions if flag.startswith("--")]

    def write_list(self, flag: str, text: str, elements: Sequence[str]) -> list[str]:
        action = self._action(flag)
        if isinstance(action, argparse._AppendAction):
            return [word for element in elements for word in (flag, element)]
        is_one = action is not None and action.nargs in (None, "?")
        if is_one and (len(elements) > 1 or self._reads_list(flag, text)):
            return [flag, text]
        return [flag, *elements] if elements else []

    def refusal(self, arguments: Sequence[str], *, are_all: bool) -> str | None:
        try:
            namespace = self._parse(arguments)
            if are_all and self._check is not None:
                self._check(namespace)
        except SystemExit:
            return "it prints something and exits, without starting a server"
        except _REJECTIONS as error:
            return str(error) or type(error).__name__
        return None

    def _action(self, flag: str) -> argparse.Action | None:
        """Return the option for a flag or an unambiguous prefix of one."""
        if flag in self._actions:
            return self._actions[flag]
        items = self._actions.items()
        matches = {
            id(action): action for name, action in items if name.startswith(flag)
        }
        return next(iter(matches.values())) if len(matches) == 1 else None

    def _reads_list(self, flag: str, text: str) -> bool:
        """Whether the option converts a text to a list."""
        try:
            values = vars(self._parse([flag, text]))
        except (SystemExit, *_REJECTIONS):
            return False
        action = self._action(flag)
        return action is not None and isinstance(values.get(action.dest), _LISTS)

    def _parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        return self._parser.parse_args([*self._before, *arguments])


def _raise_error(message: str) -> NoReturn:
    raise _ParserError(message)
