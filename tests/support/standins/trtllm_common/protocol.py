"""The request models of several releases. All forbid unknown fields.

As in the real ones, some validators read the raw body: a body that FastAPI does not
parse as JSON is bytes, which have no ``get``.
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
    """The common fields of completions and chats. ``model`` is not checked."""

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
    #: The same as ``max_tokens``; in the real one an alias.
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
    """A request to /v1/responses; no release has ``lora_request`` here."""

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
