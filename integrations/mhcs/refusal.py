"""The exit status of an engine that refuses its arguments once they are parsed.

An engine's parser ends the process with :data:`USAGE_ERROR`. What the engine finds
wrong later, such as an unknown quantization, is an exception that nothing catches:
Python prints it and ends with status 1, as after a crash that a restart may mend.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Final

from model_hosting_container_standards.engines.command import USAGE_ERROR

#: What checks of values raise. A hub that cannot be reached raises something else,
#: which stays the cause of what is raised then.
_REFUSALS: Final = (AssertionError, LookupError, TypeError, ValueError)


def exit_when_refused(functions: Collection[str]) -> None:
    """End this process with :data:`USAGE_ERROR` if its engine refuses its arguments.

    Args:
        functions: names of the engine's functions that check arguments.
    """
    hook = sys.excepthook

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        hook(kind, error, trace)
        if is_refusal(error, functions):
            raise SystemExit(USAGE_ERROR)

    sys.excepthook = report


def is_refusal(error: BaseException, functions: Collection[str]) -> bool:
    """Whether the same arguments would be refused again."""
    frames = traceback.walk_tb(error.__traceback__)
    is_checking = any(frame.f_code.co_name in functions for frame, _ in frames)
    return is_checking and all(isinstance(e, _REFUSALS) for e in _with_causes(error))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen = set()
    left = [error]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [e for e in (one.__cause__, one.__context__, *_reported(one)) if e]


def _reported(error: BaseException) -> Iterator[BaseException]:
    """Yield what the validators of a pydantic class raised, which is no cause."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        for details in error.errors():
            cause = details.get("ctx", {}).get("error")
            if isinstance(cause, BaseException):
                yield cause
