"""Ray's errors; that of a method has the traceback in its text."""

from __future__ import annotations

import pickle
import traceback
from typing import Any


class RayError(Exception):
    """The base class of Ray's errors."""


class RayTaskError(RayError):
    """A remote method has raised an error."""

    cause: Exception

    @classmethod
    def of(cls, cause: Exception) -> RayTaskError:
        """Return an error that is also one of the cause's class."""
        text = "".join(traceback.format_exception(cause))
        try:
            cause = pickle.loads(pickle.dumps(cause))
        except Exception:  # noqa: BLE001 # As Ray does.
            cause = RayError(text)
        kind = type(cause)

        class Both(cls, kind):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                self.cause = cause

            def __getattr__(self, name: str) -> Any:
                return getattr(cause, name)

            def __str__(self) -> str:
                return text

        Both.__name__ = Both.__qualname__ = f"RayTaskError({kind.__name__})"
        try:
            return Both()
        except TypeError:  # The class needs arguments: the error is not one of it.
            error = cls(text)
            error.cause = cause
            return error


class RayActorError(RayError):
    """The actor cannot carry out a call, or has not."""


class ActorDiedError(RayActorError):
    """The actor has ended."""


class ActorUnavailableError(RayActorError):
    """The actor may be being restarted."""


class RaySystemError(RayError):
    """Ray itself has failed."""


class RpcError(RayError):
    """A call of the GCS has failed."""
