"""Names that vLLM moved, on the installed release."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import pytest

from real import ENV, RELEASE, requires_vllm
from servers import run_until_exit

pytestmark = [*requires_vllm, pytest.mark.usefixtures("temporary_folder")]

#: Names that scripts for any release import, many of them from old paths.
IMPORTED: Final = (
    "vllm.entrypoints.chat_utils:load_chat_template",
    "vllm.entrypoints.chat_utils:parse_chat_messages",
    "vllm.entrypoints.logger:RequestLogger",
    "vllm.entrypoints.openai.api_server:build_async_engine_client",
    "vllm.entrypoints.openai.api_server:health",
    "vllm.entrypoints.openai.api_server:run_server",
    "vllm.entrypoints.openai.cli_args:make_arg_parser",
    "vllm.entrypoints.openai.cli_args:validate_parsed_serve_args",
    "vllm.entrypoints.openai.protocol:ChatCompletionRequest",
    "vllm.entrypoints.openai.protocol:ChatCompletionResponseChoice",
    "vllm.entrypoints.openai.protocol:CompletionRequest",
    "vllm.entrypoints.openai.protocol:CompletionResponseChoice",
    "vllm.entrypoints.openai.protocol:DeltaToolCall",
    "vllm.entrypoints.openai.protocol:ErrorResponse",
    "vllm.entrypoints.openai.protocol:FunctionCall",
    "vllm.entrypoints.openai.protocol:LoadLoRAAdapterRequest",
    "vllm.entrypoints.openai.protocol:RerankRequest",
    "vllm.entrypoints.openai.protocol:ResponseFormat",
    "vllm.entrypoints.openai.protocol:ScoreRequest",
    "vllm.entrypoints.openai.protocol:ToolCall",
    "vllm.entrypoints.openai.protocol:TranscriptionRequest",
    "vllm.entrypoints.openai.serving_chat:OpenAIServingChat",
    "vllm.entrypoints.openai.serving_completion:OpenAIServingCompletion",
    "vllm.entrypoints.openai.serving_engine:BaseModelPath",
    "vllm.entrypoints.openai.serving_engine:LoRAModulePath",
    "vllm.entrypoints.openai.serving_engine:OpenAIServing",
    "vllm.entrypoints.openai.serving_models:BaseModelPath",
    "vllm.entrypoints.openai.serving_models:OpenAIServingModels",
    "vllm.entrypoints.openai.tool_parsers:ToolParserManager",
    "vllm.entrypoints.utils:load_aware_call",
    "vllm.entrypoints.utils:with_cancellation",
    "vllm.lora.request:LoRARequest",
    "vllm.sampling_params:GuidedDecodingParams",
    "vllm.sampling_params:SamplingParams",
    "vllm.utils:FlexibleArgumentParser",
    "vllm.utils:merge_async_iterators",
    "vllm.utils:random_uuid",
)
#: Missing in 0.9 to 0.11.0 only.
ABSENT_FOR_A_WHILE: Final = "get_lora_op_configs"


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """The outcome of each import, as moved.py reports it; "" is success."""
    command = [sys.executable, str(Path(__file__).with_name("moved.py")), *IMPORTED]
    end = run_until_exit(command, env=ENV, timeout=300)
    assert end.status == 0, end.stderr
    found: dict[str, str] = json.loads(end.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("reference", IMPORTED)
def test_common_imports_of_scripts_work(
    outcomes: dict[str, str], reference: str
) -> None:
    assert outcomes[reference] == ""


def test_every_moved_name_is_found_or_reported_as_removed(
    outcomes: dict[str, str],
) -> None:
    assert bool(outcomes.keys() - set(IMPORTED)) == (RELEASE > (0, 6, 3))
    missing = {
        reference: outcome
        for reference, outcome in outcomes.items()
        if outcome not in ("", "unusable")
        and " was removed: " not in outcome
        and not reference.endswith(ABSENT_FOR_A_WHILE)
    }
    assert missing == {}


def test_few_names_need_missing_dependencies(
    outcomes: dict[str, str],
) -> None:
    unusable = [name for name, o in outcomes.items() if o == "unusable"]
    assert len(unusable) < len(outcomes) / 10, unusable
