"""A check: one promise of the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from .container import Container, Options

#: Returns what was found; a :class:`.verdict.VerdictError` says why it does not pass.
Run = Callable[[Container], str]


class Need(str, Enum):
    """What the user has to give or to allow first."""

    ADAPTERS = "--adapters DIR"
    API_KEY = "--api-key KEY"
    DRAIN = "--drain PID"
    EXPECTED = "--expect TEXT"


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, and how it is checked.

    Args:
        name: ``AREA-WHAT``.
        title: the promise, in a sentence.
        page: what the documentation says about it, below ``docs/``.
        needs: what the user has to give first.
    """

    name: str
    title: str
    page: str
    run: Run
    needs: Need | None = None

    @property
    def area(self) -> str:
        return self.name.partition("-")[0]

    def missing(self, options: Options, api_key: str | None) -> Need | None:
        """Return what the user has not given, None if the check can run."""
        given = {
            None: True,
            Need.ADAPTERS: bool(options.adapters),
            Need.API_KEY: api_key is not None,
            Need.DRAIN: options.drain is not None,
            Need.EXPECTED: options.expected is not None,
        }
        return None if given[self.needs] else self.needs


def check(
    name: str, title: str, page: str, needs: Need | None = None
) -> Callable[[Run], Check]:
    """Make a check of a function."""

    def decorate(run: Run) -> Check:
        return Check(name, title, page, run, needs)

    return decorate
