"""All checks, in the order in which they run."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from ..check import Check
from . import (
    adapters,
    batch,
    drain,
    errors,
    headers,
    health,
    invocations,
    keys,
    metrics,
    models,
    ping,
    registered_adapters,
    sessions,
    streams,
    websockets,
)

#: The one that looks at all answers comes after the others, ``drain`` last of all.
_AREAS: Final = (
    ping,
    invocations,
    health,
    streams,
    models,
    headers,
    adapters,
    registered_adapters,
    sessions,
    batch,
    websockets,
    metrics,
    keys,
    errors,
    drain,
)


def _checks_of(module: ModuleType) -> list[Check]:
    return [value for value in vars(module).values() if isinstance(value, Check)]


CHECKS: Final = tuple(check for area in _AREAS for check in _checks_of(area))
