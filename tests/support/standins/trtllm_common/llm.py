"""``LLM``: the model's arguments, and requests to its worker."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

from tensorrt_llm.executor.request import LoRARequest
from tensorrt_llm.lora_helper import LoraConfig
from tensorrt_llm.sampling_params import SamplingParams

from standins.trtllm_common.output import RequestOutput
from standins.trtllm_common.proxy import MonitoredProxy, Proxy
from standins.trtllm_common.release import since

ATTACH_INFO = "TLLM_EXECUTOR_ATTACH_INFO"


class LLM:
    """A front end's view of the engine.

    ``args`` are the defaults here, updated from the options file. Its ``lora_config``
    is a ``LoraConfig`` or None.
    """

    def __init__(self, model: str, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "backend": "pytorch",
            "num_postprocess_workers": 0,
            "lora_config": None,
            "return_perf_metrics": False,
            "num_serve_frontends": 1,
        }
        self.args = SimpleNamespace(model=model, **{**defaults, **options})
        if isinstance(self.args.lora_config, Mapping):
            self.args.lora_config = LoraConfig(**self.args.lora_config)
        if not since(0, 18):
            self.args._num_postprocess_workers = self.args.num_postprocess_workers
        self.tokenizer = SimpleNamespace(name_or_path=model)
        self._executor = self._make_executor()

    def _make_executor(self) -> Proxy:
        kind = MonitoredProxy if since(1, 3) else Proxy
        # In the real one, the variable contains keys, and is therefore removed.
        if attach := os.environ.pop(ATTACH_INFO, None):
            return kind(json.loads(attach)["address"], None)
        lora = self.args.lora_config
        return kind.launch(
            {
                "lora_config": None if lora is None else dataclasses.asdict(lora),
                "num_postprocess_workers": self.args.num_postprocess_workers,
            }
        )

    def generate_async(
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: LoRARequest | None = None,
        streaming: bool = False,
        **others: Any,
    ) -> RequestOutput:
        """Begin a generation from a text, token ids, or a dict with either.

        Without ``lora_config``, the ``lora_request`` is ignored.

        Raises:
            RuntimeError: the engine has exited.
        """
        if isinstance(inputs, Mapping):
            inputs = inputs.get("prompt", inputs.get("prompt_token_ids"))
        return self._executor.submit(
            inputs,
            sampling_params.max_tokens if sampling_params else None,
            dataclasses.asdict(lora_request) if lora_request else None,
        )

    async def get_stats_async(self, timeout: float) -> AsyncIterator[dict[str, int]]:
        """Yield the statistics so far; reading them empties the queue."""
        for stats in await self._executor.ask("stats") or ():
            yield stats

    def _check_health(self) -> bool:
        return self._executor.check_health()

    def shutdown(self) -> None:
        self._executor.shutdown()

    async def facts(self) -> Any:
        """Return the worker's facts, for ``/standin``; None once it has exited."""
        if not self._executor.is_connected():
            return None
        return await self._executor.ask("facts")
