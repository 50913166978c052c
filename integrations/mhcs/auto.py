"""Import this before an engine, and the engine speaks SageMaker's hosting contract.

Importing it registers post-import hooks, nothing else: no engine is imported.
"""

from __future__ import annotations

from model_hosting_container_standards.engines.api import Engine
from model_hosting_container_standards.engines.registry import installed_engines
from model_hosting_container_standards.settings import Settings, read_settings

from .guard import guarded


def patch_engines() -> None:
    """Register the hooks of every engine that is not disabled."""
    with guarded("Patching the installed engines", "They are not patched."):
        settings = read_settings()
        if settings.auto is False:
            return
        for engine in installed_engines():
            if not settings.disables(engine.name):
                _patch(engine)
        _tell_refusal(settings)


def _patch(engine: Engine) -> None:
    consequence = f"{engine.name} serves without SageMaker's routes."
    with guarded(f"Patching {engine.name}", consequence):
        engine.patch()


def _tell_refusal(settings: Settings) -> None:
    """Let the supervisor know when an engine refuses arguments after parsing them."""
    if settings.heartbeat_dir is None:
        return  # Nothing would start it again.
    with guarded("Watching for refused arguments", "They are tried again."):
        from .refusal import exit_when_refused  # Imported late: few processes need it.

        commands = [engine.command for engine in installed_engines()]
        exit_when_refused(
            {name for c in commands if c is not None for name in c.checking_functions}
        )


patch_engines()
