"""Makes uvicorn wait for workers that need longer to import SGLang than it waits.

It ends one that does not answer within 5 seconds, and starts the next, without end on a
CPU that needs them for the import. Later releases of SGLang have a variable for it.
"""

from typing import Final

#: Seconds.
LIMIT: Final = 300


def wait_for_workers() -> None:
    """Change the default of :func:`uvicorn.run`; torch calls this after its import."""
    import uvicorn

    defaults = uvicorn.run.__kwdefaults__ or {}
    if "timeout_worker_healthcheck" in defaults:
        defaults["timeout_worker_healthcheck"] = LIMIT
