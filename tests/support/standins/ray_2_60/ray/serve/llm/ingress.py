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


class ModelCard(BaseModel):
    id: str
    owned_by: str = "ray"


class ModelList(BaseModel):
    data: list[ModelCard]


class OpenAiIngress:
    app: FastAPI

    def __init__(
        self,
        llm_deployments: Mapping[str, DeploymentHandle],
        model_cards: Mapping[str, ModelCard],
        *,
        lora_paths: Mapping[str, str] | None = None,
    ) -> None:
        self._default_serve_handles = dict(llm_deployments)
        self._model_cards = dict(model_cards)
        self._lora_paths = dict(lora_paths or {})

    async def _get_model_id(self, model: str | None) -> str:
        if model is None:
            if len(self._model_cards) > 1:
                raise HTTPException(400, "Model parameter is required.")
            model = next(iter(self._model_cards))
        base = model.partition(":")[0]
        if base not in self._model_cards:
            raise HTTPException(404, f"Could not find base model with ID {base}.")
        return model

    async def _get_response(
        self, *, body: Any, call_method: str, raw_request: Request | None = None
    ) -> AsyncGenerator[Any, None]:
        name = await self._get_model_id(body.model)
        handle = self._default_serve_handles[name.partition(":")[0]]
        headers = dict(raw_request.headers) if raw_request is not None else {}
        async for output in getattr(handle, call_method).remote(body, headers):
            yield {"model": name, **output}

    async def completions(self, body: CompletionRequest, request: Request) -> Any:
        outputs = self._get_response(
            body=body, call_method="completions", raw_request=request
        )
        [output] = [output async for output in outputs]
        return output

    async def model(self, model_id: str) -> ModelCard | None:
        if model_id in self._model_cards:
            return self._model_cards[model_id]
        base = model_id.partition(":")[0]
        if base not in self._lora_paths:
            return None
        return self._model_cards[base].model_copy(update={"id": model_id})

    async def models(self) -> ModelList:
        return ModelList(data=[*self._model_cards.values()])

    async def model_data(self, model: str) -> ModelCard:
        if (card := await self.model(model)) is None:
            raise HTTPException(404, f"Unable to find {model}.")
        return card


async def start_replica(cls: type[OpenAiIngress], **options: Any) -> OpenAiIngress:
    """Return an ingress replica as Ray starts it: its app has class-based routes."""
    ingress = cls(**options)
    app = ingress.app = FastAPI()

    async def completions(body: CompletionRequest, request: Request) -> Any:
        return await ingress.completions(body, request)

    async def models() -> Any:
        return await ingress.models()

    async def model_data(model: str) -> Any:
        return await ingress.model_data(model)

    completions.__module__ = "ray.llm._internal.serve.core.ingress.ingress"
    app.post("/v1/completions")(completions)
    app.get("/v1/models")(models)
    app.get("/v1/models/{model:path}")(model_data)
    build = partial(ingress.__serve_build_asgi_app__)  # type: ignore[attr-defined]
    ingress.app = await build()
    return ingress
