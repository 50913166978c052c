"""The response of ``GET /standin``: internal state, for tests.

``pid``, ``role`` (single, launcher or attached), ``version``
``generations_begun``, ``aborted``
    of this front end; the worker's ``generations`` count those of all.
``watchers``
    tasks that still wait for their client's disconnect.
``drains``
    how often ``/metrics`` was read, which clears the statistics.
``stack_built_early``
    whether the middleware stack was built before the app was served.
``binding_addr``, ``host``, ``port``
    the values that ``__call__`` has set; None in releases that do not.
``routes``, ``middleware``, ``modules``, ``environment``
    of this front end.
``worker``
    its ``pid``, ``run_name``, ``generations``, ``loads`` ([id, path] of every adapter
    read), ``postprocess_pids``, ``modules``, ``environment``; None once it has exited.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse
from tensorrt_llm.version import __version__

if TYPE_CHECKING:
    from standins.trtllm_common.serving import Server

#: "single", unless the command starts several front ends.
role = "single"


class Facts:
    def __init__(self) -> None:
        self.generations_begun = 0
        self.aborted = 0
        self.drains = 0
        self.watchers: set[object] = set()
        self.stack_built_early: bool | None = None


async def look_inside(server: Server) -> JSONResponse:
    facts = server.facts
    return JSONResponse(
        {
            **_of_process(),
            "version": __version__,
            "generations_begun": facts.generations_begun,
            "aborted": facts.aborted,
            "watchers": len(facts.watchers),
            "drains": facts.drains,
            "stack_built_early": facts.stack_built_early,
            **{
                name: getattr(server, name, None)
                for name in ("binding_addr", "host", "port")
            },
            "routes": [getattr(r, "path", None) for r in server.app.router.routes],
            "middleware": [
                getattr(m.cls, "__name__", str(m.cls))
                for m in server.app.user_middleware
            ],
            "worker": await server.engine.facts(),
        }
    )


def _of_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "role": role,
        "modules": sorted(sys.modules),
        "environment": sorted(os.environ),
    }
