"""The metrics of engines that ``examples/monitoring`` uses, as their pages name them.

Tests of the real vLLM and SGLang compare them with the engine's page. Those of
TensorRT-LLM are from its documentation.
"""

from __future__ import annotations

from typing import Final

VLLM: Final = {
    "vllm:generation_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prompt_tokens_total",
    "vllm:time_to_first_token_seconds_bucket",
}
SGLANG: Final = {
    "sglang:generation_tokens_total",
    "sglang:num_queue_reqs",
    "sglang:num_running_reqs",
    "sglang:prompt_tokens_total",
    "sglang:time_to_first_token_seconds_bucket",
    "sglang:token_usage",
}
TENSORRT_LLM: Final = {
    "trtllm_generation_tokens_total",
    "trtllm_kv_cache_utilization",
    "trtllm_num_requests_running",
    "trtllm_num_requests_waiting",
    "trtllm_prompt_tokens_total",
    "trtllm_time_to_first_token_seconds_bucket",
}
ENGINES: Final = VLLM | SGLANG | TENSORRT_LLM
