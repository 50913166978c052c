"""The one place where the integrations swallow an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from model_hosting_container_standards.config import read_settings
from model_hosting_container_standards.logging_config import get_logger

logger = get_logger("mhcs")


@contextmanager
def guarded(action: str, consequence: str = "") -> Iterator[None]:
    """Turn a failure into one ERROR that says what will be missing and what to do.

    A broken patch must not stop an engine that would serve without it. With
    ``MHCS_STRICT`` the failure is raised instead; a bad value of that is, too.
    """
    try:
        yield
    except Exception as error:
        if read_settings().strict:
            raise
        logger.error(
            "%s failed: %s: %s %s Set MHCS_STRICT=1 to stop the start instead.",
            action,
            type(error).__name__,
            error,
            consequence,
        )
