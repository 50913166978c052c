"""The variables that mean something else than in the published 0.1.x."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from model_hosting_container_standards.settings import Settings

PAGE: Final = "docs/how-to/migrate-from-0.1.md"

_SPEC: Final = (
    "a spec of unknown form stops the start, and a path such as /v1/health is answered "
    "by that route; 0.1.x ignored both."
)
_MIDDLEWARE: Final = "a spec that cannot be used stops the start; 0.1.x went on without"
_ENGINE_SESSIONS: Final = (
    "read only where SAGEMAKER_ENABLE_STATEFUL_SESSIONS is on; 0.1.x always read it."
)
_ADAPTER_DEFAULTS: Final = "has an effect; it had none in 0.1.x."
_LOG_LEVEL: Final = (
    "sets the level of this package's loggers only, no longer of the root logger, and "
    "a level that does not exist stops the start."
)

#: The difference of each variable, by name; the page of the documentation has them all.
DIFFERENCES: Final[Mapping[str, str]] = {
    Settings.model_path.name: "its folders code/ and adapters/ are used too, and an "
    "engine that does not call this package is patched if it is set.",
    Settings.script_filename.name: "a file that does not exist stops the start; 0.1.x "
    "went on without a script. `none` means no script.",
    Settings.ping_handler.name: _SPEC,
    Settings.invocation_handler.name: _SPEC,
    Settings.throttle.name: f"{_MIDDLEWARE}.",
    Settings.pre_post_process.name: f"{_MIDDLEWARE}. Formatters run beside it.",
    Settings.pre_process.name: f"{_MIDDLEWARE}, and ignored it where "
    "CUSTOM_FASTAPI_MIDDLEWARE_PRE_POST_PROCESS was set.",
    Settings.post_process.name: f"{_MIDDLEWARE}, and ignored it where "
    "CUSTOM_FASTAPI_MIDDLEWARE_PRE_POST_PROCESS was set. The response has its body.",
    Settings.sessions_enabled.name: "every handler of /invocations has sessions, not "
    "only a decorated one; `yes` and `on` are true, and other words stop the start.",
    Settings.sessions_path.name: "holds one database instead of a folder for each "
    "session; sessions of 0.1.x are not taken over.",
    Settings.create_session_defaults.name: _ENGINE_SESSIONS,
    Settings.close_session_defaults.name: _ENGINE_SESSIONS,
    Settings.load_adapter_defaults.name: _ADAPTER_DEFAULTS,
    Settings.unload_adapter_defaults.name: _ADAPTER_DEFAULTS,
    "SAGEMAKER_CONTAINER_LOG_LEVEL": _LOG_LEVEL,
    "LOG_LEVEL": f"{_LOG_LEVEL} SUPERVISOR_SUPERVISORD_LOGLEVEL is supervisord's.",
    Settings.auto_recovery.name: "a word that is not a boolean stops the start; in "
    "0.1.x it was false.",
    Settings.max_start_retries.name: "counts crashes in a row, however long each start "
    "lasted, and the supervisor then ends with status 1; 0.1.x counted only starts of "
    "less than a second, and stayed up without a server.",
    Settings.supervisor_config.name: "unset, the file is a private temporary one, no "
    "longer /tmp/supervisord.conf.",
    Settings.auto_install.name: "a word that is not a boolean stops the start; in "
    "0.1.x it was false.",
    Settings.pip_arguments.name: "options alone are added to the installation of "
    "requirements.txt, which they replaced in 0.1.x; packages of the engine keep their "
    "versions.",
}


def differences(settings: Settings) -> Iterator[str]:
    """Yield what is different from 0.1.x, for each variable that is set."""
    for name, text in DIFFERENCES.items():
        if settings.raw(name):
            yield f"{name}: {text}"
