"""Import this before an engine, and the engine speaks SageMaker's hosting contract.

Importing it registers post-import hooks, nothing else: no engine is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from model_hosting_container_standards.config import read_settings

from .guard import guarded

#: Engine name, as ``MHCS_DISABLE`` knows it, to the module whose ``patch()`` hooks it.
ENGINES: Final = {"vllm": "mhcs.vllm.hooks"}


def patch_engines() -> None:
    """Register the hooks of every engine that is not disabled."""
    with guarded("Reading MHCS_AUTO and MHCS_DISABLE", "No engine is patched."):
        settings = read_settings()
        if settings.auto is False:
            return
        wanted = [name for name in ENGINES if not settings.disables(name)]
        for name in wanted:
            _patch(name)


def _patch(name: str) -> None:
    with guarded(f"Patching {name}", f"{name} serves without SageMaker's routes."):
        import_module(ENGINES[name]).patch()


patch_engines()
