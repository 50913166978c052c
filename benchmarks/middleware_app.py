"""The decorated app with middleware that passes everything through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response

import application
from exchange import json_exchange
from traffic import PATH

_calls: Final[Counter[str]] = Counter()


async def start(middleware: Collection[str]) -> FastAPI:
    """Return the app with the middleware of these names.

    Raises:
        SystemExit: a request does not pass exactly once through each of them.
    """
    if middleware:
        _register(middleware)
    app = application.build_standard()
    _calls.clear()
    await json_exchange("POST", PATH, {"model": "base"}).ask(app)
    if _calls != Counter(middleware):
        raise SystemExit(f"A request went through {_calls}, not {middleware}")
    return app


async def format_input(request: Request) -> Request:
    _calls["input_formatter"] += 1
    return request


async def format_output(response: Response) -> Response:
    _calls["output_formatter"] += 1
    return response


async def throttle(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    _calls["throttle"] += 1
    return await call_next(request)


def _register(names: Collection[str]) -> None:
    # Imported late: an app without middleware does not import it.
    from model_hosting_container_standards.common.fastapi.middleware import (
        custom_middleware,
        input_formatter,
        output_formatter,
    )

    register: Mapping[str, Callable[[], Any]] = {
        "input_formatter": lambda: input_formatter(format_input),
        "output_formatter": lambda: output_formatter(format_output),
        "throttle": lambda: custom_middleware("throttle")(throttle),
    }
    for name in names:
        register[name]()
