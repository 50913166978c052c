"""Handlers of an engine that has sessions of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Receive, Scope

from ..asgi.body import JSONBody, JSONRequest, read_body, replace_json_body
from ..exceptions import HandlerNotFoundError
from ..handlers.model_call import ModelCall, content_of
from ..handlers.ownership import claim
from ..handlers.registry import Registrations
from ..handlers.shapes import compile_path, fill_defaults
from ..settings import Settings
from .decorators import session_field

H = TypeVar("H", bound=Callable[..., Any])
Edit = Callable[[dict[str, Any]], None]

_CREATE: Final = "create_session"
_CLOSE: Final = "close_session"


def register_create_session_handler(
    engine_response_session_id_path: str,
    engine_request_model_cls: type[Any] | None = None,
) -> Callable[[H], H]:
    """Begin sessions by the decorated handler, which is returned unchanged.

    The path is a JMESPath into what the handler answers, ``body.`` in front of it or
    not; ``"body"`` is the whole answer. There the session's id is, any JSON scalar.
    The handler takes a request model, the raw request or both, in this order, and
    returns a Response, a dict, a model or the id itself. The model, of the class given
    or else of the annotation, is made of what
    ``SAGEMAKER_TRANSFORMS_CREATE_SESSION_DEFAULTS`` says.

    Raises:
        ValueError: the path is no JMESPath.
    """
    path = engine_response_session_id_path
    find = compile_path("engine_response_session_id_path", path)
    return _register(_CREATE, engine_request_model_cls, find)


def register_close_session_handler(
    engine_request_session_id_path: str,
    engine_request_model_cls: type[Any] | None = None,
) -> Callable[[H], H]:
    """End sessions by the decorated handler, which is returned unchanged.

    The path is the dotted one of the request's field that gets the engine's id. The
    handler is called as :func:`register_create_session_handler` says.

    Raises:
        ValueError: the path is empty, or no string.
    """
    write = session_field(engine_request_session_id_path).write
    return _register(_CLOSE, engine_request_model_cls, write)


def _register(
    name: str, model: type[Any] | None, at_path: Callable[..., Any]
) -> Callable[[H], H]:
    def decorate(handler: H) -> H:
        session_registry.add(name, SessionHandler(handler, model, at_path))
        return handler

    return decorate


class SessionHandler:
    """A handler that begins or ends a session of the engine.

    ``at_path`` finds the id in its answer, or writes it into its request.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        model: type[Any] | None,
        at_path: Callable[..., Any],
    ) -> None:
        self.function = function
        self.at_path = at_path
        self._call = ModelCall(function, model)

    async def __call__(self, scope: Scope, receive: Receive, fill: Edit) -> Any:
        """Call it with the engine's request, which ``fill`` makes of an empty one.

        A handler without a model finds it in the body, beside the request type.

        Raises:
            HTTPException: 400, its model does not take the request.
        """
        values: dict[str, Any] = {}
        fill(values)
        if not self._call.takes_model:
            body = JSONBody(await read_body(receive), fill)
            scope, receive = replace_json_body(scope, receive, body)
        return await self._call(values, JSONRequest(scope, receive))


class EngineSessions:
    """The sessions that an app's engine has of its own."""

    def __init__(self, create: SessionHandler, close: SessionHandler) -> None:
        self._create = create
        self._close = close
        self._create_defaults: Mapping[str, Any] = {}
        self._close_defaults: Mapping[str, Any] = {}

    def configure(self, settings: Settings) -> None:
        """Read the defaults of its requests.

        Raises:
            ConfigurationError: they are no such defaults.
        """
        self._create_defaults = settings.create_session_defaults
        self._close_defaults = settings.close_session_defaults

    async def create(self, scope: Scope, receive: Receive) -> Any:
        """Begin one, and return its id: a JSON scalar.

        A response is what the engine answers instead; None: there is no id in it.
        """

        def fill(document: dict[str, Any]) -> None:
            fill_defaults(document, self._create_defaults)

        result = await self._create(scope, receive, fill)
        if _is_failure(result):
            return result
        body = content_of(result)
        fields = body if isinstance(body, dict) else {}
        try:
            found = self._create.at_path({**fields, "body": body})
        except ValueError:  # of JMESPath, which asks for another type there
            return None
        return None if isinstance(found, dict | list) else found

    async def close(
        self, engine_id: Any, scope: Scope, receive: Receive
    ) -> Response | None:
        """End one; return what the engine answers if it does not."""

        def fill(document: dict[str, Any]) -> None:
            self._close.at_path(document, engine_id)
            fill_defaults(document, self._close_defaults)

        result = await self._close(scope, receive, fill)
        return result if _is_failure(result) else None


def claim_engine_sessions(app: FastAPI) -> EngineSessions | None:
    """Return what was registered for this app, None if nothing was.

    Raises:
        HandlerNotFoundError: only one of the two handlers was registered.
    """
    create, close = (
        claim(session_registry, name, app, _function) for name in (_CREATE, _CLOSE)
    )
    if create is None and close is None:
        return None
    if create is None or close is None:
        there, missing = (_CLOSE, _CREATE) if create is None else (_CREATE, _CLOSE)
        raise HandlerNotFoundError(
            f"register_{there}_handler was used, but register_{missing}_handler was "
            "not: an engine that begins sessions also ends them. Register both."
        )
    return EngineSessions(create, close)


def _function(handler: SessionHandler) -> Callable[..., Any]:
    return handler.function


def _is_failure(result: Any) -> bool:
    return isinstance(result, Response) and not 200 <= result.status_code < 300


session_registry: Final[Registrations[SessionHandler]] = Registrations()
