"""Every error this package raises on its own behalf.

ConfigurationError            an environment variable has a value that is not allowed
HandlerResolutionError        a handler spec, script or function cannot be used
  InvalidHandlerSpecError       the spec has none of the known forms
  HandlerFileNotFoundError      the file it names does not exist
  HandlerNotFoundError          the file or module has no such name
  HandlerNotCallableError       the name is there, but cannot be called
  ModuleLoadError               the file or module raised while it was imported
MiddlewareError               a middleware cannot be used
  MiddlewareRegistrationError   it was registered wrongly, or cannot be made
  MiddlewareNotFoundError       its spec names nothing
  FormatterRegistrationError    the same of an input or output formatter
SessionNotFoundError          there is no such session, or not any more (400)
StorageError                  a state folder or its database cannot be used
RequirementsError             requirements.txt of the model folder cannot be installed
EngineUnhealthyError          the engine is dead (503)
AdapterError                  an adapter cannot be had as it was asked for (400)
  AdapterNotFoundError          there is no such adapter, or no such folder (404)
  AdapterConflictError          the name is taken (409)
  AdapterCapacityError          the engine has no room for it (507)
  AdapterEngineError            the engine cannot be asked (503)
"""

from __future__ import annotations

from typing import ClassVar


class ConfigurationError(ValueError):
    """An environment variable holds a value that is not allowed.

    Without a value, the name is wrong already: the value may be a secret.
    """

    def __init__(self, name: str, value: str | None, allowed: str) -> None:
        variable = name if value is None else f"{name}={value!r}"
        super().__init__(f"{variable} is not allowed: {allowed.rstrip('.')}.")
        self.name = name
        self.value = value


class HandlerResolutionError(Exception):
    """A handler that was asked for cannot be used."""


class InvalidHandlerSpecError(HandlerResolutionError):
    """A handler spec has none of the known forms."""


class HandlerFileNotFoundError(HandlerResolutionError):
    """The file a handler spec names does not exist."""


class HandlerNotFoundError(HandlerResolutionError):
    """A file or module does not define the name that was asked for."""


class HandlerNotCallableError(HandlerResolutionError):
    """The name that was asked for is no callable."""


class ModuleLoadError(HandlerResolutionError):
    """A file or module raised while it was imported; the cause is chained."""


class MiddlewareError(Exception):
    """A middleware that was asked for cannot be used: the server does not start."""


class MiddlewareRegistrationError(MiddlewareError):
    """A middleware was registered wrongly, or cannot be made."""


class MiddlewareNotFoundError(MiddlewareError):
    """The spec of a middleware names nothing that can be loaded."""


class FormatterRegistrationError(MiddlewareError):
    """An input or output formatter was registered wrongly, or cannot be found."""


class SessionNotFoundError(ValueError):
    """There is no session of this id: unknown, closed or expired."""

    def __init__(self, session_id: object) -> None:
        super().__init__(f"session not found: {session_id}")


class StorageError(Exception):
    """A state folder or its database cannot be used."""


class RequirementsError(Exception):
    """What requirements.txt of the model folder asks for cannot be installed."""


class EngineUnhealthyError(Exception):
    """The engine behind a server is dead: the text says why.

    Args:
        keeps_server: the operator wants the server to stay nevertheless.
    """

    def __init__(self, reason: str, *, keeps_server: bool = False) -> None:
        super().__init__(reason)
        self.keeps_server = keeps_server


class AdapterError(Exception):
    """An adapter cannot be had as it was asked for."""

    status_code: ClassVar[int] = 400


class AdapterNotFoundError(AdapterError):
    """There is no such adapter, or nothing where it should be loaded from."""

    status_code: ClassVar[int] = 404


class AdapterConflictError(AdapterError):
    """Another adapter has the name."""

    status_code: ClassVar[int] = 409


class AdapterCapacityError(AdapterError):
    """The engine has no room for it."""

    status_code: ClassVar[int] = 507


class AdapterEngineError(AdapterError):
    """The engine cannot be asked: it is starting, or dead."""

    status_code: ClassVar[int] = 503


class AdapterCrashError(AdapterEngineError):
    """The engine has ended while it loaded the adapter, and most likely of it."""
