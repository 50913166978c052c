"""Decisions that were made by reading vLLM's releases on both sides of a move.

They cannot be derived automatically.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .sources import Place


def _place(reference: str) -> Place:
    """Return a place, ``_.`` for the package that most of them are in."""
    module, _, name = reference.partition(":")
    return Place(module.replace("_.", "vllm.entrypoints.", 1), name)


#: Classes that were renamed but kept their purpose, except for some keywords.
RENAMED: Final[Mapping[Place, Place]] = {
    _place(old): _place(new)
    for old, new in (
        (
            "vllm.sampling_params:GuidedDecodingParams",
            "vllm.sampling_params:StructuredOutputsParams",
        ),
        (
            "vllm.transformers_utils.tokenizer:AnyTokenizer",
            "vllm.tokenizers.protocol:TokenizerLike",
        ),
        (
            "_.openai.protocol:LoadLoraAdapterRequest",
            "_.openai.protocol:LoadLoRAAdapterRequest",
        ),
        (
            "_.openai.protocol:UnloadLoraAdapterRequest",
            "_.openai.protocol:UnloadLoRAAdapterRequest",
        ),
        (
            "_.openai.serving_score:OpenAIServingScores",
            "_.openai.serving_score:ServingScores",
        ),
        (
            "_.openai.engine.serving:OpenAIServing",
            "_.generate.base.serving:GenerateBaseServing",
        ),
        (
            "_.openai.generative_scoring.serving:OpenAIServingGenerativeScoring",
            "_.generate.generative_scoring.serving:ServingGenerativeScoring",
        ),
        (
            "_.pooling.base.serving:PoolingServingBase",
            "_.pooling.base.serving:PoolingBaseServing",
        ),
        (
            "_.pooling.embed.serving:OpenAIServingEmbedding",
            "_.pooling.embed.serving:ServingEmbedding",
        ),
        (
            "_.pooling.pooling.serving:OpenAIServingPooling",
            "_.pooling.pooling.serving:ServingPooling",
        ),
        (
            "_.pooling.score.protocol:ScoreRequestMixin",
            "_.pooling.scoring.protocol:ScoringRequestMixin",
        ),
        (
            "_.serve.render.serving:OpenAIServingRender",
            "_.scale_out.render.serving:ServingRender",
        ),
        (
            "_.serve.tokenize.serving:OpenAIServingTokenization",
            "_.serve.tokenize.serving:ServingTokenization",
        ),
        (
            "_.speech_to_text.base.serving:OpenAISpeechToText",
            "_.speech_to_text.base.serving:SpeechToTextBaseServing",
        ),
    )
}

#: Moved definitions that were rewritten but kept their name and purpose.
ACCEPTED: Final = frozenset(
    map(
        _place,
        (
            "_.openai.parser.harmony_utils:parse_output_message",
            "_.pooling.embed.serving:EmbeddingServeContext",
            "_.pooling.scoring.protocol:RerankRequest",
            "_.pooling.scoring.protocol:ScoreDataRequest",
            "_.pooling.scoring.serving:ServingScores",
            "vllm.config.model:LayerBlockType",
            "vllm.jsontree:JSONTree",
            "vllm.v1.worker.utils:bind_kv_cache",
        ),
    )
)

_STRUCTURED: Final = "SamplingParams(structured_outputs=StructuredOutputsParams(...))"
#: Replacements for removed names that are called differently.
INSTEAD: Final[Mapping[str, str]] = {
    "GuidedDecodingRequest": _STRUCTURED,
    "LLMGuidedOptions": _STRUCTURED,
    "apply_hf_chat_template": "vllm.renderers.hf:safe_apply_chat_template",
    "apply_mistral_chat_template": "vllm.renderers.mistral:safe_apply_chat_template",
    "encode_pooling_output": "vllm.entrypoints.pooling.utils:encode_pooling_output_*",
    "get_cuda_view_from_cpu_tensor": (
        "vllm.utils.torch_utils:get_accelerator_view_from_cpu_tensor"
    ),
    "parse_chat_messages_futures": (
        "vllm.renderers.chat_utils:parse_chat_messages_async"
    ),
    "parse_response_input": (
        "vllm.entrypoints.openai.responses.harmony:response_input_to_harmony"
    ),
    "random_tool_call_id": "vllm.renderers.chat_utils:make_tool_call_id",
    "resolve_hf_chat_template": "vllm.renderers.hf:resolve_chat_template",
    "token_inputs": "vllm.inputs.engine:tokens_input",
}
