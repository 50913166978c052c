"""The ingress, whose endpoints are methods."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from ray.serve.handle import DeploymentHandle


class CompletionRequest(BaseModel):
    model: str | None = None
    prompt: str
    request_id: str = Field(default="by-default")


class OpenAiIngress:
    app: FastAPI

    def __init__(
        self,
        llm_deployments: Mapping[str, DeploymentHandle],
        model_cards: Mapping[str, Any],
    ) -> None:
        self._default_serve_handles = dict(llm_deployments)
        self._model_cards = dict(model_cards)

    async def _get_model_id(self, model: str | None) -> str:
        if model is None and len(self._model_cards) == 1:
            return next(iter(self._model_cards))
        if model is None:
            raise HTTPException(400, "Model parameter is required.")
        if model not in self._model_cards:
            raise HTTPException(404, f"Could not find base model with ID {model}.")
        return model

    async def _get_response(
        self, *, body: Any, call_method: str, raw_request: Request | None = None
    ) -> AsyncGenerator[Any, None]:
        name = await self._get_model_id(body.model)
        method = getattr(self._default_serve_handles[name], call_method)
        headers = dict(raw_request.headers) if raw_request is not None else {}
        async for output in method(body, headers):
            yield {"model": name, **output}

    async def completions(self, body: CompletionRequest, request: Request) -> Any:
        outputs = self._get_response(
            body=body, call_method="completions", raw_request=request
        )
        return await anext(outputs)


async def start_replica(cls: type[OpenAiIngress], **options: Any) -> OpenAiIngress:
    """Return an ingress replica as Ray starts it: its app has class-based routes."""
    ingress = cls(**options)
    ingress.app = FastAPI()

    async def completions(body: CompletionRequest, request: Request) -> Any:
        return await ingress.completions(body, request)

    completions.__module__ = "ray.llm._internal.serve.core.ingress.ingress"
    ingress.app.post("/v1/completions")(completions)
    build = partial(ingress.__serve_build_asgi_app__)  # type: ignore[attr-defined]
    ingress.app = await build()
    return ingress
