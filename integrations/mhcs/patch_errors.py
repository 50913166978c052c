"""The only place where the integrations catch all errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from model_hosting_container_standards.logging_config import get_logger
from model_hosting_container_standards.settings import read_settings

logger = get_logger("mhcs")

#: mpi4py's workers run the server's script again, as a module of this name. They serve
#: nothing, and the server process has already logged the error.
_MPI_WORKER: Final = "__worker__"


@contextmanager
def guarded(action: str, consequence: str = "") -> Iterator[None]:
    """Log an exception as one ERROR; raise it with ``MHCS_STRICT``.

    A broken patch must not stop an engine that can serve without it.

    Args:
        action: what is attempted, as the subject of "... failed".
        consequence: a sentence on what will be missing.

    Raises:
        ConfigurationError: ``MHCS_STRICT`` has an invalid value.
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
