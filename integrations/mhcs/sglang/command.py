"""The ``sglang serve`` command for ``mhcs serve``. Does not import SGLang."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from model_hosting_container_standards.engines import EngineCommand, Parser
from model_hosting_container_standards.settings import Settings

from ..packages import read_sources
from ..serve.adapters_in_memory import limit_adapters
from ..serve.yaml_options import read_yaml_options

#: Files below the package in which releases define the server's options.
_SOURCES: Final = ("srt/server_args.py", "srt/arg_groups/*.py")


class SGLangCommand(EngineCommand):
    """The command of SGLang."""

    executables = ("sglang",)
    prefix = "SM_SGLANG_"
    engine_prefix = "SGLANG_"
    model_flags = ("--model-path", "--model")
    model_variables = ("MODEL", "MODEL_PATH")
    config_flags = ("--config",)
    checking_functions = frozenset(
        {"__post_init__", "from_cli_args", "prepare_server_args", "resolve_once"}
    )

    def command(self, model: str | None) -> list[str]:
        start = ["sglang", "serve"]
        return start if model is None else [*start, "--model-path", model]

    def read_config(self, file: Path) -> dict[str, Any]:
        options = read_yaml_options(file)
        if "model-path" in options:
            options["model"] = options.pop("model-path")
        return options

    def default_arguments(self, settings: Settings, given: Sequence[str]) -> list[str]:
        return limit_adapters(
            settings, given, "--max-loaded-loras", "--max-loras-per-batch"
        )

    def mentions(self, flag: str) -> bool:
        field = flag.removeprefix("--").replace("-", "_")
        return flag in self._source or f" {field}:" in self._source

    @cached_property
    def _source(self) -> str:
        return read_sources("sglang", _SOURCES)

    def parser(self) -> Parser | None:
        # Imported late: it imports SGLang.
        from .parser import make_parser

        return make_parser()
