"""A stand-in for the engine: it repeats requests, and checks the model's name."""

from __future__ import annotations

from argparse import Namespace
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import State

from .protocol import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionRequest,
    CompletionResponse,
    ErrorInfo,
    ErrorResponse,
)


class OpenAIServingModels:
    def __init__(self, model: str) -> None:
        self.model = model

    def check(self, asked_for: str | None) -> ErrorResponse | None:
        """Return the error for an unknown model; no name means the base model."""
        if asked_for in (None, self.model):
            return None
        message = f"The model `{asked_for}` does not exist."
        return ErrorResponse(error=ErrorInfo(message=message, code=404))


class OpenAIServingCompletion:
    def __init__(self, models: OpenAIServingModels) -> None:
        self.models = models

    async def create_completion(
        self, request: CompletionRequest, raw_request: Request
    ) -> CompletionResponse | ErrorResponse:
        return self.models.check(request.model) or CompletionResponse(
            model=self.models.model, text=request.prompt, path=raw_request.url.path
        )


class OpenAIServingChat:
    def __init__(self, models: OpenAIServingModels) -> None:
        self.models = models

    async def create_chat_completion(
        self, request: ChatCompletionRequest, raw_request: Request
    ) -> ChatCompletionResponse | ErrorResponse:
        return self.models.check(request.model) or ChatCompletionResponse(
            model=self.models.model,
            text=request.messages[-1]["content"],
            path=raw_request.url.path,
        )


def init_app_state(state: State, args: Namespace) -> None:
    """Set the app's state after it is built, as vLLM does."""
    models = OpenAIServingModels(args.model)
    state.openai_serving_models = models
    state.openai_serving_completion = OpenAIServingCompletion(models)
    state.openai_serving_chat = OpenAIServingChat(models)


def as_response(result: BaseModel) -> JSONResponse:
    status = result.error.code if isinstance(result, ErrorResponse) else HTTPStatus.OK
    return JSONResponse(result.model_dump(), status_code=status)
