"""How a check ends, if not by passing."""

from __future__ import annotations

from enum import Enum

from .exchange import Exchange


class Status(str, Enum):
    """The result of a check."""

    PASS = "pass"
    FAIL = "fail"
    NOT_OFFERED = "not offered"
    SKIPPED = "skipped"


class VerdictError(Exception):
    """A check ends early; the message says why, ``exchange`` shows it."""

    status = Status.FAIL

    def __init__(self, finding: str, exchange: Exchange | None = None) -> None:
        super().__init__(finding)
        self.exchange = exchange


class FailedError(VerdictError):
    """The container breaks the promise."""


class NotOfferedError(VerdictError):
    """The container does not have the feature."""

    status = Status.NOT_OFFERED


class SkippedError(VerdictError):
    """The check cannot say anything, or is not allowed."""

    status = Status.SKIPPED


class OutOfTimeError(VerdictError):
    """The time for all checks is over."""

    def __init__(self) -> None:
        super().__init__("not finished: the time of --total-timeout was over")
