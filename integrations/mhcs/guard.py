"""The one place where the integrations swallow an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from model_hosting_container_standards.logging_config import get_logger
from model_hosting_container_standards.settings import read_settings

logger = get_logger("mhcs")

#: mpi4py's workers run the server's script anew, as a module of this name. They serve
#: nothing, and the server has said what is wrong.
_MPI_WORKER: Final = "__worker__"


@contextmanager
def guarded(action: str, consequence: str = "") -> Iterator[None]:
    """Turn a failure into one ERROR that says what will be missing and what to do.

    A broken patch must not stop an engine that would serve without it. With
    ``MHCS_STRICT`` the failure is raised instead; a bad value of that is, too.
    """
    try:
        yield
    except Exception as error:
        if _MPI_WORKER in sys.modules:
            return
        if read_settings().strict:
            raise
        logger.error(
            "%s failed: %s: %s %s Set MHCS_STRICT=1 to stop the start instead.",
            action,
            type(error).__name__,
            error,
            consequence,
        )
