"""The request models that releases have in common. All forbid unknown fields.

As in the real ones, some of what they check is looked up in what has not been parsed
yet: a body that FastAPI does not take for JSON is bytes, which have no ``get``.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class OpenAIBaseModel(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class StreamOptions(OpenAIBaseModel):
    include_usage: bool | None = True
    continuous_usage_stats: bool | None = True


class StreamingRequest(OpenAIBaseModel):
    """What completions and chats have in common. ``model`` is never looked at."""

    model: str
    best_of: int | None = None
    echo: bool | None = False
    max_tokens: int | None = None
    min_p: float = 0.0
    n: int = 1
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_k: int = 0
    top_p: float | None = None
    use_beam_search: bool = False
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def validate_stream_options(cls, data: Any) -> Any:
        if data.get("stream_options") and not data.get("stream"):
            raise ValueError("Stream options can only be defined when stream is true.")
        return data


class CompletionRequest(StreamingRequest):
    prompt: str | list[str] | list[int] | list[list[int]]
    suffix: str | None = None

    @model_validator(mode="before")
    @classmethod
    def check_suffix(cls, data: Any) -> Any:
        if data.get("suffix"):
            raise ValueError("suffix is not supported")
        return data


class ChatCompletionRequest(StreamingRequest):
    messages: list[dict[str, Any]]
    #: By either name: an alias of one field in the real one.
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def check_tool_choice(cls, data: Any) -> Any:
        if data.get("tool_choice") not in (None, "none") and not data.get("tools"):
            raise ValueError("When using `tool_choice`, `tools` must be set.")
        return data


class ResponsesRequest(OpenAIBaseModel):
    """Has no ``lora_request`` in any release."""

    model: str
    input: str | list[dict[str, Any]]
    max_output_tokens: int | None = None
    stream: bool | None = False
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def check_prompt(cls, data: Any) -> Any:
        if data.get("prompt") is not None:
            raise ValueError("prompt template is not supported")
        return data


class ChatCompletionResponse(OpenAIBaseModel):
    id: str
    object: str
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, int]
