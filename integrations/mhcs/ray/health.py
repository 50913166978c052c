"""Health of the models behind an ingress: whether a replica of each one answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from fastapi import FastAPI, HTTPException
from ray.exceptions import RayError
from ray.serve._private.common import ReplicaID
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from .replicas import running_replicas

#: Seconds within which a replica of each model must answer a check.
ANSWER_S: Final = 1.0
#: Seconds for which a result counts.
_FRESH_S: Final = 0.5
#: The attribute of an ingress app's state.
_STATE: Final = "mhcs_ray_health"


class ModelHealth:
    """Checks the models of an ingress. Concurrent callers share one check.

    Args:
        handles: those of the models, by the names of the models.
    """

    def __init__(self, handles: Mapping[str, DeploymentHandle]) -> None:
        self._models = {name: ReplicaHealth(each) for name, each in handles.items()}
        self._check: asyncio.Task[str | None] | None = None
        self._checked_at = -math.inf

    async def problem(self) -> str | None:
        """Return which models have no replica that answers, in a sentence, or None."""
        if self._check is None or self._is_stale(self._check):
            self._check = asyncio.ensure_future(self._find_problem())
        return await asyncio.shield(self._check)

    def _is_stale(self, check: asyncio.Task[str | None]) -> bool:
        return check.done() and monotonic() - self._checked_at > _FRESH_S

    async def _find_problem(self) -> str | None:
        try:
            answers = await asyncio.gather(
                *(model.answers(ANSWER_S) for model in self._models.values())
            )
        finally:
            self._checked_at = monotonic()
        by_name = zip(self._models, answers, strict=True)
        missing = [name for name, has_answered in by_name if not has_answered]
        if not missing:
            return None
        return f"No replica answers for the model {', '.join(missing)}."


class ReplicaHealth:
    """Checks whether any replica of a deployment is healthy.

    A replica is not asked again before it has answered.
    """

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._checks: dict[ReplicaID, asyncio.Task[bool]] = {}

    async def answers(self, seconds: float) -> bool:
        """Whether a replica has said within ``seconds`` that it is healthy."""
        replicas = running_replicas(self._handle)
        self._checks = {
            replica: self._running(replica) or asyncio.ensure_future(_is_healthy(actor))
            for replica, actor in replicas.items()
        }
        return await _any_is_true([*self._checks.values()], seconds)

    def _running(self, replica: ReplicaID) -> asyncio.Task[bool] | None:
        check = self._checks.get(replica)
        return check if check is not None and not check.done() else None


async def _is_healthy(actor: Any) -> bool:
    try:
        # What Serve's controller calls, too.
        await actor.check_health.remote()
    except RayError:
        return False
    return True


async def _any_is_true(tasks: list[asyncio.Task[bool]], seconds: float) -> bool:
    """Whether a task returns true within ``seconds``; the others go on."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(
            waiting,
            timeout=max(0.0, deadline - loop.time()),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if any(task.result() for task in done):
            return True
        if not done:
            break
    return False


def add_health_route(app: FastAPI, health: ModelHealth) -> None:
    """Add ``/health``, which Ray's ingress does not have."""
    setattr(app.state, _STATE, health)
    app.add_api_route("/health", answer_health, methods=["GET"])


async def answer_health(request: Request) -> Response:
    """Answer 200 if a replica of each model answers, and 503 otherwise."""
    if problem := await health_of(request.app).problem():
        raise HTTPException(503, problem)
    return Response()


def health_of(app: FastAPI) -> ModelHealth:
    health: ModelHealth = getattr(app.state, _STATE)
    return health
