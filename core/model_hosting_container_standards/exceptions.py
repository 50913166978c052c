"""Every error this package raises on its own behalf.

ConfigurationError            an environment variable has a value that is not allowed
HandlerResolutionError        a handler spec, script or function cannot be used
  InvalidHandlerSpecError       the spec has none of the known forms
  HandlerFileNotFoundError      the file it names does not exist
  HandlerNotFoundError          the file or module has no such name
  HandlerNotCallableError       the name is there, but cannot be called
  ModuleLoadError               the file or module raised while it was imported
"""

from __future__ import annotations


class ConfigurationError(ValueError):
    """An environment variable holds a value that is not allowed."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"{name}={value!r} is not allowed: {allowed}.")
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
