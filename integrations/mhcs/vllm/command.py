"""The ``vllm serve`` command for ``mhcs serve``. Does not import vLLM."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from model_hosting_container_standards.engines import EngineCommand, Parser
from model_hosting_container_standards.settings import Settings

from ..packages import read_sources
from ..serve.adapters_in_memory import limit_adapters
from ..serve.command_line import has_option
from ..serve.yaml_options import read_yaml_options

#: Files below the package in which releases define the options of ``vllm serve``.
_SOURCES: Final = (
    "engine/arg_utils.py",
    "entrypoints/*/cli_args.py",
    "entrypoints/cli/serve.py",
)
_TOKENIZERS: Final = frozenset(
    {"tekken.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"}
)
_NO: Final = "--no-"


class VLLMCommand(EngineCommand):
    """The command of vLLM."""

    executables = ("vllm",)
    prefix = "SM_VLLM_"
    engine_prefix = "VLLM_"
    config_flags = ("--config",)
    array_flags = frozenset(
        {"--allowed-headers", "--allowed-methods", "--allowed-origins", "--middleware"}
    )
    checking_functions = frozenset(
        {
            "create_engine_config",
            "from_cli_args",
            "validate_api_server_args",
            "validate_parsed_serve_args",
        }
    )

    def command(self, model: str | None) -> list[str]:
        return ["vllm", "serve", *([model] if model is not None else [])]

    def model_in(
        self, folder: Path, files: Collection[str], given: Sequence[str]
    ) -> tuple[str, list[str]]:
        """Return the folder, or the path of the GGUF file in it, which vLLM requires.

        vLLM can extract a tokenizer from a GGUF file, but that is slow and not always
        equivalent: tokenizer files beside it are preferred.
        """
        ggufs = sorted(name for name in files if name.endswith(".gguf"))
        if not ggufs or any(name.endswith((".safetensors", ".bin")) for name in files):
            return str(folder), []
        if len(ggufs) > 1:
            raise LookupError(
                f"{folder} has several GGUF files, and vLLM serves one: set "
                f"{self.prefix}MODEL to one of {', '.join(ggufs)}, with its folder. "
                "Parts of one model have to be joined by gguf-split first."
            )
        has_tokenizer = not _TOKENIZERS.isdisjoint(files)
        adds_tokenizer = has_tokenizer and not has_option(given, "--tokenizer")
        return str(folder / ggufs[0]), [
            "--tokenizer",
            str(folder),
        ] if adds_tokenizer else []

    def read_config(self, file: Path) -> dict[str, Any]:
        return read_yaml_options(file)

    def default_arguments(self, settings: Settings, given: Sequence[str]) -> list[str]:
        return limit_adapters(settings, given, "--max-cpu-loras", "--max-loras")

    def has_server(self, arguments: Sequence[str]) -> bool:
        return not has_option(arguments, "--headless")

    def mentions(self, flag: str) -> bool:
        # Fields of a JSON option may be set separately: --compilation-config.level.
        flag = flag.partition(".")[0]
        if flag.startswith(_NO):
            flag = f"--{flag.removeprefix(_NO)}"
        field = flag.removeprefix("--").replace("-", "_")
        # As a quoted flag, or as a dataclass field that becomes an option.
        pattern = re.compile(
            rf"[\"']{re.escape(flag)}[\"']|^ +{field} *:", re.MULTILINE
        )
        return pattern.search(self._source) is not None

    @cached_property
    def _source(self) -> str:
        return read_sources("vllm", _SOURCES)

    def parser(self) -> Parser | None:
        # vllm_omni replaces the command line when it is started with --omni.
        if find_spec("vllm_omni") is not None:
            return None
        # Imported late: it imports vLLM's command line and with it most of vLLM.
        from .parser import make_parser

        return make_parser()
