"""Names of vLLM that customers' scripts import, and where releases moved them.

Old paths are those of vLLM <= 0.14 (``health``: <= 0.12), or of 0.15 to 0.28 where a
name moved twice. Read in the sources of 0.32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_PREFIX: Final = "vllm.entrypoints"

# Old modules, the names they had, and the modules that may have them today.
_MOVES: Final = (
    (("openai.api_server",), ("health",), ("serve.instrumentator.health",)),
    (
        ("openai.protocol",),
        ("CompletionRequest", "CompletionResponse", "CompletionStreamResponse"),
        ("openai.completion.protocol",),
    ),
    (
        ("openai.protocol",),
        (
            "ChatCompletionRequest",
            "ChatCompletionResponse",
            "ChatCompletionStreamResponse",
            "ChatMessage",
        ),
        ("openai.chat_completion.protocol",),
    ),
    (
        ("openai.protocol", "openai.engine.protocol"),
        (
            "ErrorInfo",
            "ErrorResponse",
            "ModelCard",
            "ModelList",
            "OpenAIBaseModel",
            "UsageInfo",
        ),
        ("openai.engine.protocol", "serve.engine.protocol"),
    ),
    (
        ("openai.protocol", "openai.engine.protocol"),
        ("DeltaMessage", "RequestResponseMetadata", "StreamOptions"),
        ("openai.engine.protocol", "generate.base.protocol"),
    ),
    (
        ("openai.protocol",),
        (
            "EmbeddingChatRequest",
            "EmbeddingCompletionRequest",
            "EmbeddingRequest",
            "EmbeddingResponse",
        ),
        ("pooling.embed.protocol",),
    ),
    (
        ("openai.protocol",),
        ("DetokenizeRequest", "TokenizeRequest"),
        ("serve.tokenize.protocol",),
    ),
    (
        ("openai.protocol",),
        ("LoadLoRAAdapterRequest", "UnloadLoRAAdapterRequest"),
        ("serve.lora.protocol",),
    ),
    (("openai.protocol",), ("ResponsesRequest",), ("openai.responses.protocol",)),
    (
        ("openai.serving_completion",),
        ("OpenAIServingCompletion",),
        ("openai.completion.serving",),
    ),
    (
        ("openai.serving_chat",),
        ("OpenAIServingChat",),
        ("openai.chat_completion.serving",),
    ),
    (
        ("openai.serving_models",),
        ("OpenAIServingModels",),
        ("openai.models.serving",),
    ),
    (
        ("openai.serving_models",),
        ("BaseModelPath", "LoRAModulePath"),
        ("openai.models.protocol", "openai.models.serving"),
    ),
)


def _references() -> Iterator[tuple[str, Sequence[str]]]:
    for old_modules, names, new_modules in _MOVES:
        for old in old_modules:
            for name in names:
                targets = [
                    f"{_PREFIX}.{new}:{name}" for new in new_modules if new != old
                ]
                yield f"{_PREFIX}.{old}:{name}", targets


#: ``"old.module:Name"`` to the references that may hold the name today.
MOVED_NAMES: Final[Mapping[str, Sequence[str]]] = dict(_references())
