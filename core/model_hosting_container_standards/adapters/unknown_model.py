"""Requests that name an unknown model: a 404, or an answer by the base model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ..exceptions import AdapterError, AdapterNotFoundError, StorageError
from ..logging_config import get_logger
from ..settings import Settings
from .adapter import join_names
from .backend import AdapterBackend, RegisteredAdapters

if TYPE_CHECKING:
    from .registry import AdapterRegistry
    from .runtime import AdapterRuntime

logger = get_logger(__name__)

#: Limits of the log, as clients may send any name: names, and characters of each.
_MAX_LOGGED: Final = 100
_MAX_LOGGED_LENGTH: Final = 256


class UnknownModels:
    """Logs the unknown model names that the base model answered for, once each."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let the base model answer for any name within the block."""
        token = _ALLOWED.set(self)
        try:
            yield
        finally:
            _ALLOWED.reset(token)

    async def answer(
        self, handler: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Call ``handler``, with the base model answering for any name."""
        with self.allowed():
            await handler(scope, receive, send)

    def log(self, name: str) -> None:
        """Log a name, once; at most 100 names."""
        name = name[:_MAX_LOGGED_LENGTH]
        if name in self._logged or len(self._logged) >= _MAX_LOGGED:
            return
        self._logged.add(name)
        logger.warning(
            "Model %r does not exist: the base model answers instead (%s).",
            name,
            Settings.unknown_model.name,
        )
        if len(self._logged) == _MAX_LOGGED:
            logger.warning("No more unknown models are logged.")


_ALLOWED: Final[ContextVar[UnknownModels | None]] = ContextVar("unknown", default=None)


def base_model_answers(name: str) -> bool:
    """Return whether the base model answers the current request for an unknown name."""
    models = _ALLOWED.get()
    if models is None:
        return False
    models.log(name)
    return True


async def select_model(adapters: AdapterRuntime, model: str) -> bool:
    """Select the adapter that a request's model field names, if it names one.

    Returns whether the base model answers for an unknown name.

    Raises:
        HTTPException: 404, there is no such model, with the names that there are; or
            the error of an adapter that cannot be loaded.
    """
    backend = adapters.backend
    if backend is None or (name := backend.adapter_of(model)) is None:
        return False
    registered = adapters.current
    if registered is not None and await _select(registered, name):
        return False
    if base_model_answers(model):
        return True
    raise unknown_model_error(model, backend, registered)


def unknown_model_error(
    model: str, backend: AdapterBackend, adapters: RegisteredAdapters | None
) -> HTTPException:
    """Return the 404 of a model that does not exist, with the names that do."""
    names = [*backend.own_models(), *backend.own_adapters()]
    names += [] if adapters is None else adapters.view()
    return HTTPException(
        404, f"The model {model!r} does not exist. Available: {join_names(names)}."
    )


async def _select(registered: AdapterRegistry, name: str) -> bool:
    """Select an adapter; return False if there is none of this name."""
    try:
        await registered.select(name)
    except AdapterError as error:
        is_unknown = isinstance(error, AdapterNotFoundError)
        if is_unknown and name not in registered.view():
            return False
        raise HTTPException(error.status_code, str(error)) from None
    except StorageError as error:
        raise HTTPException(507, str(error)) from None
    return True
