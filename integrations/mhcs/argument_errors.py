"""Exit with a usage error when an engine rejects its arguments after parsing them.

An engine's parser exits with :data:`USAGE_ERROR`. A later rejection, as of an unknown
quantization, is an uncaught exception: Python would exit with status 1, as after a
crash, for which a restart makes sense.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Final

from model_hosting_container_standards.engines.command import USAGE_ERROR

#: Exceptions that checks of values raise. An unreachable hub raises others, which
#: remain visible as a cause.
_REFUSALS: Final = (AssertionError, LookupError, TypeError, ValueError)


def exit_when_refused(functions: Collection[str]) -> None:
    """Exit with :data:`USAGE_ERROR` if the engine rejects its arguments.

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
    """Whether an exception rejects arguments, which would be rejected again."""
    frames = traceback.walk_tb(error.__traceback__)
    is_checking = any(frame.f_code.co_name in functions for frame, _ in frames)
    return is_checking and all(isinstance(e, _REFUSALS) for e in _with_causes(error))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen = set()
    queue = [error]
    while queue:
        current = queue.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        causes = (current.__cause__, current.__context__, *_of_validators(current))
        queue += [cause for cause in causes if cause]


def _of_validators(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of pydantic validators, which are not chained as causes."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        for details in error.errors():
            cause = details.get("ctx", {}).get("error")
            if isinstance(cause, BaseException):
                yield cause
