"""The ``sglang serve`` command for ``mhcs serve``. Does not import SGLang."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from model_hosting_container_standards.engines import EngineCommand, Parser
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings

from ..serve.command_line import has_option, last_value
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
        count = settings.adapters_in_memory
        is_on = has_option(given, "--enable-lora")
        if count is None or not is_on or has_option(given, "--max-loaded-loras"):
            return []
        slots = last_value(given, ("--max-loras-per-batch",)) or ""
        if slots.isdecimal() and int(slots) > count:
            name = Settings.adapters_in_memory.name
            allowed = f"it must be at least --max-loras-per-batch, which is {slots}"
            raise ConfigurationError(name, str(count), allowed)
        return ["--max-loaded-loras", str(count)]

    def mentions(self, flag: str) -> bool:
        field = flag.removeprefix("--").replace("-", "_")
        return flag in self._source or f" {field}:" in self._source

    @cached_property
    def _source(self) -> str:
        files = (
            file
            for folder in _folders()
            for pattern in _SOURCES
            for file in folder.glob(pattern)
        )
        return "".join(file.read_text() for file in files)

    def parser(self) -> Parser | None:
        # Imported late: it imports SGLang.
        from .parser import make_parser

        return make_parser()


def _folders() -> list[Path]:
    """Return the folder of the package, without importing it; empty without it."""
    spec = find_spec("sglang")
    return [*map(Path, spec.submodule_search_locations or ())] if spec else []
