"""The request models that releases have in common. All forbid unknown fields."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class OpenAIBaseModel(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class CompletionRequest(OpenAIBaseModel):
    """``model`` is required, and never looked at."""

    model: str
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = None
    n: int = 1
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None


class ChatCompletionRequest(OpenAIBaseModel):
    model: str
    messages: list[dict[str, Any]]
    #: By either name: an alias of one field in the real one.
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    n: int = 1
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None


class ResponsesRequest(OpenAIBaseModel):
    """Has no ``lora_request`` in any release."""

    model: str
    input: str | list[dict[str, Any]]
    max_output_tokens: int | None = None
    stream: bool | None = False
    user: str | None = None


class ChatCompletionResponse(OpenAIBaseModel):
    id: str
    object: str
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, int]
