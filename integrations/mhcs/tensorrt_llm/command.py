"""The ``trtllm-serve`` command for ``mhcs serve``. Does not import TensorRT-LLM."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from model_hosting_container_standards.engines import EngineCommand, Parser
from model_hosting_container_standards.settings import Settings

from ..packages import read_sources


class TensorRTCommand(EngineCommand):
    """The command of TensorRT-LLM."""

    executables = ("trtllm-serve",)
    prefix = "SM_TRTLLM_"
    separator = "_"
    config_flags = ("--extra_llm_api_options", "--config")
    checking_functions = frozenset(
        {
            "from_kwargs",
            "get_llm_args",
            "update_llm_args_with_extra_dict",
            "update_llm_args_with_extra_options",
        }
    )

    def read_config(self, file: Path) -> dict[str, Any]:
        # The file's options are not command-line options, and none sets the model.
        if not file.is_file():
            raise ValueError("the file does not exist")
        return {}

    def unused(self, settings: Settings) -> Iterable[str]:
        name = Settings.adapters_in_memory.name
        if settings.raw(name):
            yield (
                f"{name} has no effect: TensorRT-LLM has no command-line option for "
                "it. Set max_cpu_loras under lora_config in the file of "
                "--extra_llm_api_options."
            )

    def mentions(self, flag: str) -> bool:
        return f'"{flag}"' in self._source or f"'{flag}'" in self._source

    @cached_property
    def _source(self) -> str:
        return read_sources("tensorrt_llm", ["commands/serve.py"])

    def parser(self) -> Parser | None:
        # Imported late: it imports TensorRT-LLM.
        from .parser import make_parser

        return make_parser()
