"""The request and response models of all layouts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class CompletionRequest(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str | None = None
    prompt: str


class ChatCompletionRequest(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str | None = None
    messages: list[dict[str, Any]]


class CompletionResponse(BaseModel):
    """A response that repeats the request, with the path that was called."""

    model: str
    text: str
    path: str


class ChatCompletionResponse(CompletionResponse):
    pass


class ErrorInfo(BaseModel):
    message: str
    code: int


class ErrorResponse(BaseModel):
    error: ErrorInfo


class LoadLoRAAdapterRequest(BaseModel):
    lora_name: str
    lora_path: str
