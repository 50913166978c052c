"""Run the ``Security`` dependencies of a route without its handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Annotated, Any, Final, get_args, get_origin

from fastapi import FastAPI, params
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ..exceptions import HandlerNotCallableError
from .endpoint import resolved_signature

_PERMITTED: Final = "model_hosting_container_standards.permitted"


class SecurityCheck:
    """The ``Security`` dependencies of a route.

    Args:
        route: a route that has these dependencies, and an endpoint of this module.
    """

    def __init__(self, route: APIRoute) -> None:
        self._route = route

    async def permits(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Return whether the dependencies let a request pass; else it is answered.

        Raises:
            Exception: a dependency raised something other than an HTTPException.
        """
        permitted: list[bool] = []

        async def send_refusal(message: Message) -> None:
            if not permitted:
                await send(message)

        _, matched = self._route.matches(scope)
        scope = {**scope, **matched, _PERMITTED: permitted}
        await self._route.handle(scope, receive, send_refusal)
        return bool(permitted)


def security_check(app: FastAPI, path: str, route: Any) -> SecurityCheck | None:
    """Return the check of a FastAPI route; None if it has no such dependencies.

    They are those of the route itself, of its routers and app, and of its handler's
    parameters.

    Args:
        path: the whole path, with the prefix of a mounted app.
    """
    dependencies: list[params.Depends] = []
    for dependency in getattr(route, "dependencies", ()):
        if isinstance(dependency, params.Security) and dependency not in dependencies:
            dependencies.append(dependency)
    own = _security_parameters(route.endpoint)
    if not dependencies and not own:
        return None
    checked = APIRoute(
        path,
        _endpoint(own),
        methods=[*route.methods],
        dependencies=dependencies,
        dependency_overrides_provider=app,
        response_model=None,
    )
    return SecurityCheck(checked)


def _security_parameters(endpoint: Callable[..., Any]) -> list[Parameter]:
    """Return the parameters of a handler that are ``Security`` dependencies."""
    try:
        signature = resolved_signature(endpoint)
    except HandlerNotCallableError:  # It is Starlette's, which reads no annotations.
        return []
    return [
        parameter.replace(kind=Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if _is_security(parameter)
    ]


def _is_security(parameter: Parameter) -> bool:
    annotation = parameter.annotation
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return any(isinstance(m, params.Security) for m in (parameter.default, *metadata))


def _endpoint(security: Sequence[Parameter]) -> Callable[..., Any]:
    """Return an endpoint that is called if its ``Security`` parameters permit."""

    async def permit(checked_request: Request, **_values: Any) -> Response:
        checked_request.scope[_PERMITTED].append(True)
        return Response()

    request = Parameter("checked_request", Parameter.KEYWORD_ONLY, annotation=Request)
    signature = inspect.Signature([request, *security])
    permit.__signature__ = signature  # type: ignore[attr-defined]
    return permit
