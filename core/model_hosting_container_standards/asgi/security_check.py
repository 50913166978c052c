"""Run the dependencies of a route that check its clients, without its handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Annotated, Any, Final, get_args, get_origin

from fastapi import FastAPI, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, get_typed_signature
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

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
    parameters. A dependency that uses one of FastAPI's security schemes counts too,
    as ``Depends(APIKeyHeader(name="key"))``.

    Args:
        path: the whole path, with the prefix of a mounted app.
    """
    dependencies: list[params.Depends] = []
    for dependency in getattr(route, "dependencies", ()):
        if _checks_client(dependency) and dependency not in dependencies:
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
        # FastAPI's own reading: it can do without an annotation that has no value.
        signature = get_typed_signature(endpoint)
    except (TypeError, ValueError):  # It is Starlette's, which reads no signature.
        return []
    found = filter(_is_security, signature.parameters.values())
    # Names of our own, of which none is the one of the request.
    return [
        parameter.replace(name=f"security_{number}", kind=Parameter.KEYWORD_ONLY)
        for number, parameter in enumerate(found)
    ]


def _is_security(parameter: Parameter) -> bool:
    annotation = parameter.annotation
    is_annotated = get_origin(annotation) is Annotated
    kind, *metadata = get_args(annotation) if is_annotated else (annotation,)
    return any(
        _checks_client(marker, kind)
        for marker in (parameter.default, *metadata)
        if isinstance(marker, params.Depends)
    )


def _checks_client(dependency: params.Depends, kind: Any = None) -> bool:
    """Whether it is marked as ``Security``, or uses one of FastAPI's schemes.

    Args:
        kind: the annotated class, which is the dependency if it names no other.
    """
    if isinstance(dependency, params.Security):
        return True
    call = dependency.dependency
    return _has_scheme(get_dependant(path="/", call=kind if call is None else call))


def _has_scheme(dependant: Dependant) -> bool:
    call: object = dependant.call  # The schemes can be called; their base cannot.
    return isinstance(call, SecurityBase) or any(
        _has_scheme(inner) for inner in dependant.dependencies
    )


def _endpoint(security: Sequence[Parameter]) -> Callable[..., Any]:
    """Return an endpoint that is called if its ``Security`` parameters permit."""

    async def permit(checked_request: Request, **_values: Any) -> Response:
        checked_request.scope[_PERMITTED].append(True)
        return Response()

    request = Parameter("checked_request", Parameter.KEYWORD_ONLY, annotation=Request)
    signature = inspect.Signature([request, *security])
    permit.__signature__ = signature  # type: ignore[attr-defined]
    return permit
