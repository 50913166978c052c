"""The exceptions of this package.

ConfigurationError            an environment variable has a value that is not allowed
HandlerResolutionError        a handler spec, script or function cannot be used
  InvalidHandlerSpecError       the spec does not have a known form
  HandlerFileNotFoundError      the file does not exist
  HandlerNotFoundError          the file or module does not define the name
  HandlerNotCallableError       the name is not a callable
  ModuleLoadError               the file or module raised while it was imported
MiddlewareError               a middleware cannot be used
  MiddlewareRegistrationError   it was registered wrongly, or cannot be created
  MiddlewareNotFoundError       what its spec names cannot be loaded
  FormatterRegistrationError    an input or output formatter cannot be used
SessionNotFoundError          the session is unknown, closed or expired (400)
StorageError                  a state folder or its database cannot be used
RequirementsError             requirements.txt of the model folder cannot be installed
EngineUnhealthyError          the engine is dead (503)
AdapterError                  a request about an adapter cannot be fulfilled (400)
  AdapterNotFoundError          the adapter or its folder does not exist (404)
  AdapterConflictError          the name is taken (409)
  AdapterCapacityError          the engine has no free slot for it (507)
  AdapterEngineError            the engine is not available (503)
    AdapterCrashError             the engine crashed while it loaded the adapter (503)
"""

from __future__ import annotations

from typing import ClassVar


class ConfigurationError(ValueError):
    """An environment variable holds a value that is not allowed.

    ``value`` is None if the variable's name is the problem; the value may be a secret.
    """

    def __init__(self, name: str, value: str | None, allowed: str) -> None:
        variable = name if value is None else f"{name}={value!r}"
        super().__init__(f"{variable} is not allowed: {allowed.rstrip('.')}.")
        self.name = name
        self.value = value


class HandlerResolutionError(Exception):
    """A specified handler cannot be used."""


class InvalidHandlerSpecError(HandlerResolutionError):
    """A handler spec does not have a known form."""


class HandlerFileNotFoundError(HandlerResolutionError):
    """The file of a handler spec does not exist."""


class HandlerNotFoundError(HandlerResolutionError):
    """A file or module does not define the specified name."""


class HandlerNotCallableError(HandlerResolutionError):
    """The specified name is not a callable."""


class ModuleLoadError(HandlerResolutionError):
    """A file or module raised while it was imported; the cause is chained."""


class MiddlewareError(Exception):
    """A specified middleware cannot be used: the server does not start."""


class MiddlewareRegistrationError(MiddlewareError):
    """A middleware was registered wrongly, or cannot be created."""


class MiddlewareNotFoundError(MiddlewareError):
    """What the spec of a middleware names cannot be loaded."""


class FormatterRegistrationError(MiddlewareError):
    """An input or output formatter was registered wrongly, or cannot be found."""


class SessionNotFoundError(ValueError):
    """The session id is unknown, or its session is closed or expired."""

    def __init__(self, session_id: object) -> None:
        super().__init__(session_id)  # As it is, so that it can be pickled.

    def __str__(self) -> str:
        return f"session not found: {self.args[0]}"


class StorageError(Exception):
    """A state folder or its database cannot be used."""


class RequirementsError(Exception):
    """The requirements.txt of the model folder cannot be installed."""


class EngineUnhealthyError(Exception):
    """The engine behind a server is dead.

    Args:
        reason: what is known about the cause.
        keeps_server: the operator has configured the server to keep running anyway.
    """

    def __init__(self, reason: str, *, keeps_server: bool = False) -> None:
        super().__init__(reason)
        self.keeps_server = keeps_server


class AdapterError(Exception):
    """A request about an adapter cannot be fulfilled.

    ``status_code`` is that of the HTTP response, and the text its detail.
    """

    status_code: ClassVar[int] = 400


class AdapterNotFoundError(AdapterError):
    """The adapter, or the folder to load it from, does not exist."""

    status_code: ClassVar[int] = 404


class AdapterConflictError(AdapterError):
    """Another adapter has the name."""

    status_code: ClassVar[int] = 409


class AdapterCapacityError(AdapterError):
    """The engine has no free slot for the adapter, or cannot pin any."""

    status_code: ClassVar[int] = 507


class AdapterEngineError(AdapterError):
    """The engine is not available: it is starting, or dead."""

    status_code: ClassVar[int] = 503


class AdapterCrashError(AdapterEngineError):
    """The engine crashed while it loaded the adapter, most likely because of it."""
