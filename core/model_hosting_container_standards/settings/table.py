"""The table of environment variables, and a frozen snapshot of their values.

The body of :class:`Settings` is the table. A value is parsed when it is first needed,
so an invalid value of a disabled feature never stops a server.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from ..exceptions import ConfigurationError
from .parsers import (
    parse_batch_strategy,
    parse_boolean,
    parse_count,
    parse_defaults,
    parse_dialect,
    parse_file,
    parse_folder,
    parse_log_format,
    parse_log_level,
    parse_names,
    parse_port,
    parse_rate,
    parse_route,
    parse_script,
    parse_seconds,
    parse_unknown_model,
    parse_whole_number,
    parse_words,
)

T = TypeVar("T")


class Variable(Generic[T]):
    """An environment variable, as a typed attribute of :class:`Settings`.

    Of several ``names``, the first that is set is used. An empty value is the same as
    an unset one. ``parse`` raises a :class:`ValueError` that says what is allowed. The
    value of a ``secret`` variable is never shown.
    """

    def __init__(
        self,
        *names: str,
        default: T,
        parse: Callable[[str], T],
        meaning: str,
        secret: bool = False,
    ) -> None:
        self.name = names[0]
        self.names = names
        self.default = default
        self.parse = parse
        self.meaning = meaning
        self.secret = secret

    @overload
    def __get__(self, settings: None, owner: type[Settings]) -> Variable[T]: ...
    @overload
    def __get__(self, settings: Settings, owner: type[Settings]) -> T: ...
    def __get__(
        self, settings: Settings | None, owner: type[Settings]
    ) -> Variable[T] | T:
        return self if settings is None else self.read(settings)

    def __set__(self, settings: Settings, value: Any) -> None:
        raise AttributeError(f"Settings are frozen: cannot set {self.name}.")

    def read(self, settings: Settings) -> T:
        """Return the parsed value, or the default.

        Raises:
            ConfigurationError: the value is not allowed.
        """
        for name in self.names:
            if value := settings.raw(name):
                try:
                    return self.parse(value)
                except ValueError as error:
                    allowed = str(error)
                raise ConfigurationError(name, value, allowed)
        return self.default


class Settings:
    """A frozen snapshot of the environment variables of this package."""

    __slots__ = ("_values",)

    model_path = Variable(
        "SAGEMAKER_MODEL_PATH",
        default=Path("/opt/ml/model"),
        parse=Path,
        meaning="folder of the customer script and of adapters/, base of file specs",
    )
    script_filename = Variable[str | None](
        "CUSTOM_SCRIPT_FILENAME",
        default="model.py",
        parse=parse_script,
        meaning="the customer script, or none; set but missing is a start-up error",
    )
    ping_handler = Variable[str | None](
        "CUSTOM_FASTAPI_PING_HANDLER",
        default=None,
        parse=str,
        meaning="spec of the handler that answers /ping",
    )
    invocation_handler = Variable[str | None](
        "CUSTOM_FASTAPI_INVOCATION_HANDLER",
        default=None,
        parse=str,
        meaning="spec of the handler that answers /invocations",
    )
    throttle = Variable[str | None](
        "CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE",
        default=None,
        parse=str,
        meaning="spec of the outermost middleware",
    )
    pre_post_process = Variable[str | None](
        "CUSTOM_FASTAPI_MIDDLEWARE_PRE_POST_PROCESS",
        default=None,
        parse=str,
        meaning="spec of the innermost middleware",
    )
    pre_process = Variable[str | None](
        "CUSTOM_PRE_PROCESS",
        default=None,
        parse=str,
        meaning="spec of the input formatter",
    )
    post_process = Variable[str | None](
        "CUSTOM_POST_PROCESS",
        default=None,
        parse=str,
        meaning="spec of the output formatter",
    )
    sessions_enabled = Variable(
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS",
        default=False,
        parse=parse_boolean,
        meaning="turns sticky sessions on",
    )
    sessions_expiration = Variable(
        "SAGEMAKER_SESSIONS_EXPIRATION",
        default=1200,
        parse=parse_seconds,
        meaning="seconds a session lives",
    )
    sessions_path = Variable[Path | None](
        "SAGEMAKER_SESSIONS_PATH",
        default=None,
        parse=Path,
        meaning="folder of the session table; unset: in shared memory",
    )
    create_session_defaults = Variable[Mapping[str, Any]](
        "SAGEMAKER_TRANSFORMS_CREATE_SESSION_DEFAULTS",
        default={},
        parse=parse_defaults,
        meaning='JSON object of "body.x.y": value defaults of an engine\'s new session',
    )
    close_session_defaults = Variable[Mapping[str, Any]](
        "SAGEMAKER_TRANSFORMS_CLOSE_SESSION_DEFAULTS",
        default={},
        parse=parse_defaults,
        meaning='JSON object of "body.x.y": value defaults of closing a session',
    )
    adapters_path = Variable[Path | None](
        "SAGEMAKER_ADAPTERS_PATH",
        default=None,
        parse=Path,
        meaning="folder of the adapter table; unset: in shared memory",
    )
    adapters_root = Variable[Path | None](
        "SAGEMAKER_ADAPTERS_ROOT",
        default=None,
        parse=Path,
        meaning="the only folder adapters may be loaded from",
    )
    load_adapter_defaults = Variable[Mapping[str, Any]](
        "SAGEMAKER_TRANSFORMS_LOAD_ADAPTER_DEFAULTS",
        default={},
        parse=parse_defaults,
        meaning='JSON object of "body.x.y": value defaults of POST /adapters',
    )
    unload_adapter_defaults = Variable[Mapping[str, Any]](
        "SAGEMAKER_TRANSFORMS_UNLOAD_ADAPTER_DEFAULTS",
        default={},
        parse=parse_defaults,
        meaning='JSON object of "body.x.y": value defaults of DELETE /adapters/NAME',
    )
    unknown_model = Variable(
        "MHCS_UNKNOWN_MODEL",
        default=False,
        parse=parse_unknown_model,
        meaning="base: the base model answers /invocations for unknown model names",
    )
    log_level = Variable[int](
        "SAGEMAKER_CONTAINER_LOG_LEVEL",
        "LOG_LEVEL",
        default=logging.ERROR,
        parse=parse_log_level,
        meaning="level of this package's own loggers",
    )
    log_format = Variable(
        "MHCS_LOG_FORMAT",
        default="text",
        parse=parse_log_format,
        meaning="format of this package's own log lines: text or json",
    )
    max_body_bytes = Variable[int | None](
        "MHCS_MAX_BODY_BYTES",
        default=None,
        parse=parse_count,
        meaning="limit of a request body, of gzip after decompression",
    )
    api_key = Variable[str | None](
        "MHCS_API_KEY",
        default=None,
        parse=str,
        meaning="the API key that clients must send",
        secret=True,
    )
    guard = Variable(
        "MHCS_GUARD",
        default=False,
        parse=parse_boolean,
        meaning="the engine's own API keys protect this package's routes, too",
    )
    restarts = Variable(
        "MHCS_RESTARTS",
        default=0,
        parse=parse_whole_number,
        meaning="set by standard-supervisor: how often it has restarted the server",
    )
    metrics_folder = Variable[Path | None](
        "PROMETHEUS_MULTIPROC_DIR",
        default=None,
        parse=parse_folder,
        meaning="folder by which prometheus_client sums the metrics of processes",
    )
    auto = Variable[bool | None](
        "MHCS_AUTO",
        default=None,
        parse=parse_boolean,
        meaning="1 patches engines at the start of any python, 0 never",
    )
    disabled_engines = Variable[frozenset[str]](
        "MHCS_DISABLE",
        default=frozenset(),
        parse=parse_names,
        meaning="engine names (comma separated, or *) never to patch",
    )
    throttle_in_flight = Variable[int | None](
        "MHCS_THROTTLE_MAX_IN_FLIGHT",
        default=None,
        parse=parse_count,
        meaning="mhcs.throttle: concurrent requests per process",
    )
    throttle_per_second = Variable[float | None](
        "MHCS_THROTTLE_MAX_PER_SECOND",
        default=None,
        parse=parse_rate,
        meaning="mhcs.throttle: new requests per second and process",
    )
    dialect = Variable(
        "MHCS_DIALECT",
        default="tgi",
        parse=parse_dialect,
        meaning="mhcs.dialects: the server whose answers are given, tgi or lmi",
    )
    port = Variable(
        "SAGEMAKER_BIND_TO_PORT",
        "AIP_HTTP_PORT",
        default=8080,
        parse=parse_port,
        meaning="mhcs serve: the port that SageMaker, or Vertex AI, calls",
    )
    health_route = Variable[str | None](
        "AIP_HEALTH_ROUTE",
        default=None,
        parse=parse_route,
        meaning="a further path of /ping, as Vertex AI sets it",
    )
    predict_route = Variable[str | None](
        "AIP_PREDICT_ROUTE",
        default=None,
        parse=parse_route,
        meaning="a further path of /invocations, as Vertex AI sets it",
    )
    adapters_in_memory = Variable[int | None](
        "SAGEMAKER_MAX_NUMBER_OF_ADAPTERS_IN_MEMORY",
        default=None,
        parse=parse_count,
        meaning="mhcs serve: default of the engine's limit of adapters in memory",
    )
    max_concurrent_transforms = Variable[int | None](
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
        default=None,
        parse=parse_whole_number,
        meaning="/execution-parameters: MaxConcurrentTransforms",
    )
    max_payload_mb = Variable[int | None](
        "SAGEMAKER_MAX_PAYLOAD_IN_MB",
        default=None,
        parse=parse_whole_number,
        meaning="/execution-parameters: MaxPayloadInMB",
    )
    batch_strategy = Variable(
        "SAGEMAKER_BATCH_STRATEGY",
        default="MULTI_RECORD",
        parse=parse_batch_strategy,
        meaning="/execution-parameters: BatchStrategy",
    )
    auto_recovery = Variable(
        "PROCESS_AUTO_RECOVERY",
        default=True,
        parse=parse_boolean,
        meaning="standard-supervisor: restart the server when it crashes",
    )
    max_start_retries = Variable(
        "PROCESS_MAX_START_RETRIES",
        default=3,
        parse=parse_whole_number,
        meaning="standard-supervisor: consecutive restarts before it gives up",
    )
    ping_stall = Variable(
        "MHCS_PING_STALL_SECONDS",
        default=120,
        parse=parse_seconds,
        meaning="seconds without progress after which /ping reports a hung engine",
    )
    restart_on_hang = Variable(
        "MHCS_RESTART_ON_HANG",
        default=False,
        parse=parse_boolean,
        meaning="standard-supervisor: restart a server that is hung",
    )
    drain_seconds = Variable(
        "MHCS_DRAIN_SECONDS",
        default=25,
        parse=parse_whole_number,
        meaning="seconds that running requests may take after SIGTERM",
    )
    heartbeat_dir = Variable[Path | None](
        "MHCS_HEARTBEAT_DIR",
        default=None,
        parse=Path,
        meaning="set by standard-supervisor: folder of the servers' heartbeats",
    )
    supervisor_config = Variable[Path | None](
        "SUPERVISOR_CONFIG_PATH",
        default=None,
        parse=parse_file,
        meaning="standard-supervisor: where supervisord's configuration is written",
    )
    auto_install = Variable(
        "STANDARD_AUTO_INSTALL_REQ",
        default=True,
        parse=parse_boolean,
        meaning="standard-supervisor: install requirements.txt of the model folder",
    )
    pip_arguments = Variable[tuple[str, ...]](
        "STANDARD_PIP_ARGS",
        default=(),
        parse=parse_words,
        meaning="standard-supervisor: arguments of that pip install; packages or "
        "`-r FILE` among them take the place of requirements.txt",
    )
    strict = Variable(
        "MHCS_STRICT",
        default=False,
        parse=parse_boolean,
        meaning="a failed patch raises instead of logging one error",
    )

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def raw(self, name: str) -> str:
        """Return the unparsed value, without surrounding space; "" if unset."""
        return self._values.get(name, "")

    @property
    def code_folders(self) -> tuple[Path, Path]:
        """Folders of the customer's files; files in the first take precedence."""
        return self.model_path, self.model_path / "code"

    @property
    def bundled_adapters(self) -> Path:
        """Folder of the adapters that come with the model; it may not exist."""
        return self.model_path / "adapters"

    def disables(self, engine: str) -> bool:
        """Return whether ``MHCS_DISABLE`` names the engine."""
        return bool({engine, "*"} & self.disabled_engines)


#: The variables that every server reads at startup.
READ_BY_SERVERS: tuple[Variable[Any], ...] = (
    Settings.log_level,
    Settings.log_format,
    Settings.sessions_enabled,
    Settings.ping_stall,
    Settings.restart_on_hang,
    Settings.drain_seconds,
    Settings.max_body_bytes,
    Settings.guard,
    Settings.health_route,
    Settings.predict_route,
    Settings.unknown_model,
    Settings.max_concurrent_transforms,
    Settings.max_payload_mb,
    Settings.batch_strategy,
)


def variables() -> tuple[Variable[Any], ...]:
    """Return all variables, in the order of the table."""
    return tuple(row for row in vars(Settings).values() if isinstance(row, Variable))


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Take a snapshot of this package's variables in ``environ``, or os.environ."""
    environ = os.environ if environ is None else environ
    names = [name for variable in variables() for name in variable.names]
    return Settings({name: environ.get(name, "").strip() for name in names})
