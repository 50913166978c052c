"""Patch engines when they are imported, so that they speak SageMaker's contract.

Import this module before an engine. Importing it registers post-import hooks; it
imports no engine.
"""

from __future__ import annotations

from model_hosting_container_standards.engines.api import Engine
from model_hosting_container_standards.engines.registry import (
    engine_commands,
    installed_engines,
)
from model_hosting_container_standards.settings import Settings, read_settings

from .patch_errors import guarded


def patch_engines() -> None:
    """Register the hooks of every engine that is not disabled."""
    with guarded("Patching the installed engines", "They are not patched."):
        settings = read_settings()
        if settings.auto is False:
            return
        for engine in installed_engines():
            if not settings.disables(engine.name):
                _patch(engine)
        _watch_refusals(settings)


def _patch(engine: Engine) -> None:
    consequence = f"{engine.name} serves without SageMaker's routes."
    with guarded(f"Patching {engine.name}", consequence):
        engine.patch()


def _watch_refusals(settings: Settings) -> None:
    """Exit with a usage error if an engine rejects its arguments after parsing them.

    The supervisor does not restart the server then.
    """
    if settings.heartbeat_dir is None:
        return  # Not under a supervisor.
    consequence = "The server is restarted even if its arguments are rejected."
    with guarded("Watching for rejected arguments", consequence):
        # Imported late: few processes need it.
        from .argument_errors import exit_when_refused

        exit_when_refused(
            {name for _, c in engine_commands() for name in c.checking_functions}
        )


patch_engines()
