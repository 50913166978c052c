"""An engine's parser that is argparse's."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import Final, NoReturn

#: What functions that read values raise, and checks of what was read.
_REFUSALS: Final = (AssertionError, LookupError, OSError, TypeError, ValueError)

_LISTS: Final = (list, set, tuple)

Check = Callable[[argparse.Namespace], object]


class _RefusedError(ValueError):
    """What the parser would have written before it ended the process."""


class ArgparseParser:
    """The ``Parser`` of an engine whose command line argparse reads.

    Args:
        parser: reads the whole command line.
        options: has the options; ``parser`` itself, or one of its subcommands.
        before: what the command line needs before any option.
        check: looks at all that was read together.
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
        # It has no public way to tell its options.
        self._actions = options._option_string_actions
        for one in (parser, options):
            one.error = _refuse  # type: ignore[method-assign]

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
            read = self._read(arguments)
            if are_all and self._check is not None:
                self._check(read)
        except SystemExit:
            return "it prints something, and no server is started"
        except _REFUSALS as error:
            return str(error) or type(error).__name__
        return None

    def _action(self, flag: str) -> argparse.Action | None:
        """Return the option of this name, or of a beginning that no other one has."""
        if flag in self._actions:
            return self._actions[flag]
        found = {id(a): a for name, a in self._actions.items() if name.startswith(flag)}
        return next(iter(found.values())) if len(found) == 1 else None

    def _reads_list(self, flag: str, text: str) -> bool:
        """Whether the option makes a list of a text that is one."""
        try:
            read = vars(self._read([flag, text]))
        except (SystemExit, *_REFUSALS):
            return False
        action = self._action(flag)
        return action is not None and isinstance(read.get(action.dest), _LISTS)

    def _read(self, arguments: Sequence[str]) -> argparse.Namespace:
        return self._parser.parse_args([*self._before, *arguments])


def _refuse(message: str) -> NoReturn:
    raise _RefusedError(message)
