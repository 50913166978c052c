"""The ``/adapters`` routes."""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from fastapi import FastAPI, HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..asgi.routing import add_route
from ..exceptions import AdapterError, StorageError
from ..logging_config import get_logger
from ..settings import Settings
from ..settings.parsers import parse_boolean
from .adapter import AdapterSpec
from .registered_handlers import (
    LOAD_ADAPTER,
    UNLOAD_ADAPTER,
    AdapterHandler,
    claim_handler,
)
from .request_document import read_document, shown_name
from .runtime import AdapterRuntime

logger = get_logger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

_COLLECTION: Final = "/adapters"
_ADAPTER: Final = "/adapters/{adapter_name:path}"
_UPDATE: Final = f"{_ADAPTER}/update"
_MAX_PER_PAGE: Final = 1000


def add_adapter_routes(
    app: FastAPI, runtime: AdapterRuntime, settings: Settings
) -> None:
    """Add the routes, before all others, if the app supports adapters.

    It does if its engine loads them, or if a load or unload handler is registered.
    """
    has_engine = runtime.has_engine
    load = claim_handler(app, LOAD_ADAPTER, replaceable=has_engine)
    unload = claim_handler(app, UNLOAD_ADAPTER, replaceable=has_engine)
    if not (has_engine or load or unload):
        return
    routes = AdapterRoutes(runtime, settings, load, unload)
    endpoints: list[tuple[str, str, Endpoint]] = [
        ("GET", _COLLECTION, routes.list),
        ("POST", _UPDATE, routes.update),
        ("GET", _ADAPTER, routes.read),
    ]
    if has_engine or load:
        endpoints.append(("POST", _COLLECTION, routes.register))
    if has_engine or unload:
        endpoints.append(("DELETE", _ADAPTER, routes.unregister))
    for method, path, endpoint in endpoints:
        name = f"sagemaker_{endpoint.__name__}_adapter"
        add_route(app, path, _with_http_errors(endpoint), method, name=name)
        app.router.routes.insert(0, app.router.routes.pop())
    runtime.surround(app)


class AdapterRoutes:
    """The endpoints of ``/adapters``.

    ``load`` and ``unload`` are registered handlers; None: the engine does it.
    """

    def __init__(
        self,
        runtime: AdapterRuntime,
        settings: Settings,
        load: AdapterHandler | None,
        unload: AdapterHandler | None,
    ) -> None:
        self._runtime = runtime
        self._load = load
        self._unload = unload
        self._load_defaults = settings.load_adapter_defaults
        self._unload_defaults = settings.unload_adapter_defaults

    async def list(self, request: Request) -> Response:
        adapters = (await self._runtime.started()).view().values()
        limit = _read_limit(request.query_params.get("limit"))
        after = _decode_token(request.query_params.get("next_page_token"))
        later = (adapter for adapter in adapters if adapter.name > after)
        page = [*itertools.islice(later, limit + 1)]
        token = _encode_token(page[limit - 1].name) if len(page) > limit else None
        shown = [adapter.describe() for adapter in page[:limit]]
        return JSONResponse({"adapters": shown, "next_page_token": token})

    async def read(self, request: Request) -> Response:
        adapters = await self._runtime.started()
        return JSONResponse(adapters.get(_adapter_name(request)).describe())

    async def register(self, request: Request) -> Response:
        adapters = await self._runtime.started()
        document = await read_document(request, self._load_defaults)
        body = document["body"]
        if self._load is None:
            flags = () if adapters.backend is None else adapters.backend.flags
            await adapters.register(_read_spec(body, flags))
        else:
            call = AdapterCall(self._load, request, document)
            if not (
                isinstance(body.get("name"), str) and isinstance(body.get("src"), str)
            ):
                return await call.answer()  # The handler has a protocol of its own.
            await adapters.register(_read_spec(body, ()), call)
            if call.response is not None:
                return call.response
        return PlainTextResponse(f"Adapter {shown_name(document)} registered")

    async def unregister(self, request: Request) -> Response:
        adapters = await self._runtime.started()
        document = await read_document(request, self._unload_defaults)
        name = _adapter_name(request)
        adapter = adapters.view().get(name)
        if self._unload is not None and (adapter is None or adapter.by_handler):
            call = AdapterCall(self._unload, request, document)
            await adapters.unregister(name, call)
            return await call.answer()
        await adapters.unregister(name)
        return PlainTextResponse(f"Adapter {shown_name(document)} unregistered")

    async def update(self, request: Request) -> Response:
        adapters = await self._runtime.started()
        document = await read_document(request, {})
        body = document["body"]
        pin, preload = _read_boolean(body, "pin"), _read_boolean(body, "preload")
        if pin is None and preload is None:
            raise AdapterError("Nothing to update: send pin, preload or both.")
        await adapters.update(_adapter_name(request), pin=pin, preload=preload)
        return PlainTextResponse(f"Adapter {shown_name(document)} updated")


class AdapterCall:
    """A call of a registered handler, made at most once."""

    def __init__(
        self, handler: AdapterHandler, request: Request, document: dict[str, Any]
    ) -> None:
        self._handler = handler
        self._request = request
        self._document = document
        self.response: Response | None = None

    async def __call__(self) -> None:
        """Call the handler.

        Raises:
            Refusal: its response has a status of 300 or above.
        """
        response = await self.answer()
        if response.status_code >= 300:
            raise Refusal(response)

    async def answer(self) -> Response:
        """Return the handler's response."""
        if self.response is None:
            self.response = await self._handler.answer(self._request, self._document)
        return self.response


class Refusal(Exception):
    """A registered handler's response that reports a failure."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"status {response.status_code}")
        self.response = response


def _with_http_errors(endpoint: Endpoint) -> Endpoint:
    """Wrap an endpoint, so that adapter and storage errors become HTTP responses."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return refusal.response
        except AdapterError as error:
            logger.info("%s %s: %s", request.method, request.url.path, error)
            raise HTTPException(error.status_code, str(error)) from None
        except StorageError as error:
            raise HTTPException(507, str(error)) from None
        except ClientDisconnect:
            return Response(status_code=400)  # Not sent: the client is gone.

    return answer


def _adapter_name(request: Request) -> str:
    name: str = request.path_params["adapter_name"]
    return name


def _read_spec(body: Mapping[str, Any], flags: Collection[str]) -> AdapterSpec:
    given = {flag: _read_boolean(body, flag) for flag in flags}
    return AdapterSpec(
        name=body.get("name", ""),
        src=body.get("src", ""),
        preload=_read_boolean(body, "preload") is not False,
        pin=bool(_read_boolean(body, "pin")),
        replace=bool(_read_boolean(body, "load_inplace")),
        options={flag: value for flag, value in given.items() if value is not None},
    )


def _read_boolean(body: Mapping[str, Any], key: str) -> bool | None:
    """Return a boolean field of a body or of query parameters; None if missing."""
    value = body.get(key)
    if value is None or isinstance(value, bool):
        return value
    with contextlib.suppress(ValueError, AttributeError):
        return parse_boolean(value)
    raise AdapterError(f"{key} must be true or false, not {value!r}.")


def _read_limit(value: str | None) -> int:
    if value is None:
        return _MAX_PER_PAGE
    with contextlib.suppress(ValueError):
        if 1 <= int(value) <= _MAX_PER_PAGE:
            return int(value)
    raise AdapterError(f"limit must be a number from 1 to {_MAX_PER_PAGE}.")


def _encode_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _decode_token(token: str | None) -> str:
    """Return the last adapter name of the previous page; empty without a token."""
    try:
        return base64.b64decode((token or "").encode(), b"-_", validate=True).decode()
    except ValueError:
        raise AdapterError(
            "next_page_token is not one that this server issued: start without one."
        ) from None
