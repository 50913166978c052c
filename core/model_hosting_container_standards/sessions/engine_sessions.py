"""Handlers that begin and end an engine's own sessions."""

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
from ..handlers.registry import Registrations, handler_registry
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
    """Register the handler that begins a session; it is returned unchanged.

    The path is a JMESPath expression that finds the session's id, any JSON scalar, in
    the handler's result; it may begin with ``body.``, and ``"body"`` is the whole
    result. The handler takes a request model, the raw request or both, in this order,
    and returns a Response, a dict, a model or the id itself. The model, of the given
    class or else of the annotation, is built from
    ``SAGEMAKER_TRANSFORMS_CREATE_SESSION_DEFAULTS``.

    Raises:
        ValueError: the path is not valid JMESPath.
    """
    path = engine_response_session_id_path
    find = compile_path("engine_response_session_id_path", path)
    return _register(_CREATE, engine_request_model_cls, find)


def register_close_session_handler(
    engine_request_session_id_path: str,
    engine_request_model_cls: type[Any] | None = None,
) -> Callable[[H], H]:
    """Register the handler that ends a session; it is returned unchanged.

    The path is the dotted path of the request's field that receives the engine's
    session id. The handler's signature is that of
    :func:`register_create_session_handler`.

    Raises:
        ValueError: the path is empty or not a string.
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

    ``at_path`` finds the id in the handler's result, or writes it into its request.
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
        """Call the handler with a request that ``fill`` builds from an empty one.

        A handler without a model gets the same fields added to the client's body.

        Raises:
            HTTPException: 400, the request does not validate as the handler's model.
        """
        values: dict[str, Any] = {}
        fill(values)
        if not self._call.takes_model:
            body = JSONBody(await read_body(receive), fill)
            scope, receive = replace_json_body(scope, receive, body)
        return await self._call(values, JSONRequest(scope, receive))


class EngineSessions:
    """The sessions that an app's engine manages itself."""

    def __init__(self, create: SessionHandler, close: SessionHandler) -> None:
        self._create = create
        self._close = close
        self._create_defaults: Mapping[str, Any] = {}
        self._close_defaults: Mapping[str, Any] = {}

    def configure(self, settings: Settings) -> None:
        """Read the defaults for the engine's requests.

        Raises:
            ConfigurationError: their value is not allowed.
        """
        self._create_defaults = settings.create_session_defaults
        self._close_defaults = settings.close_session_defaults

    async def create(self, scope: Scope, receive: Receive) -> Any:
        """Begin a session, and return its id, a JSON scalar.

        Returns the handler's Response if it reports a failure, and None if the result
        has no id.
        """

        def fill(document: dict[str, Any]) -> None:
            fill_defaults(document, self._create_defaults)

        result = await self._create(scope, receive, fill)
        if _is_failure(result):
            return result
        body = content_of(result)
        fields = body if isinstance(body, dict) else {}
        try:
            engine_id = self._create.at_path({**fields, "body": body})
        except ValueError:  # JMESPath: the result has another type at the path.
            return None
        return None if isinstance(engine_id, dict | list) else engine_id

    async def close(
        self, engine_id: Any, scope: Scope, receive: Receive
    ) -> Response | None:
        """End a session; return the handler's Response if it reports a failure."""

        def fill(document: dict[str, Any]) -> None:
            self._close.at_path(document, engine_id)
            fill_defaults(document, self._close_defaults)

        result = await self._close(scope, receive, fill)
        return result if _is_failure(result) else None


def claim_engine_sessions(app: FastAPI) -> EngineSessions | None:
    """Return the handlers that were registered for this app, if any.

    Raises:
        HandlerNotFoundError: only one of the two handlers was registered.
    """
    create, close = (
        claim(session_registry, name, app, _function_of) for name in (_CREATE, _CLOSE)
    )
    if create is None and close is None:
        return None
    if create is None or close is None:
        present, missing = (_CLOSE, _CREATE) if create is None else (_CREATE, _CLOSE)
        raise HandlerNotFoundError(
            f"register_{present}_handler was used, but register_{missing}_handler was "
            "not: sessions need both. Register both."
        )
    return EngineSessions(create, close)


def _function_of(handler: SessionHandler) -> Callable[..., Any]:
    return handler.function


def _is_failure(result: Any) -> bool:
    return isinstance(result, Response) and not 200 <= result.status_code < 300


session_registry: Final[Registrations[SessionHandler]] = (
    handler_registry.new_registrations()
)
