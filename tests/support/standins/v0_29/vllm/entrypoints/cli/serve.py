"""The subcommand ``serve``: some of its options, parsed as vLLM does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from standins.common.server import add_options


class FlexibleArgumentParser(argparse.ArgumentParser):
    """A parser that inserts the options of the ``--config`` file first."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        args = list(args)
        if "--config" in args:
            assert args.count("--config") == 1, "More than one config file specified!"
            at = args.index("--config")
            found = json.loads(Path(args[at + 1]).read_text())  # JSON is valid YAML.
            words = [w for key in found for w in (f"--{key}", str(found[key]))]
            args = [*args[:1], *words, *args[1:at], *args[at + 2 :]]
        return super().parse_args(args, namespace)


class LoRAParserAction(argparse.Action):
    """An action that takes several arguments in JSON."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        for value in values or ():
            try:
                json.loads(value)
            except ValueError:
                parser.error(f"Invalid JSON format for --lora-modules: {value}")
        setattr(namespace, self.dest, values)


class ServeSubcommand:
    def subparser_init(
        self, subparsers: argparse._SubParsersAction[Any]
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = subparsers.add_parser("serve")
        add_options(parser)
        add = parser.add_argument
        add("--config")
        add("--enable-auto-tool-choice", action="store_true")
        add("--tool-call-parser")
        add("--quantization", "-q", choices=["awq", "gptq"])
        add("--max-model-len", type=int)
        add("--api-key", choices=["known"], nargs="*")
        add("--hf-token", nargs="?", const=True)
        add("--enable-prefix-caching", action=argparse.BooleanOptionalAction)
        add("--allowed-origins", type=json.loads, default=["*"])
        add("--compilation-config", type=json.loads)
        add("--lora-modules", nargs="+", action=LoRAParserAction)
        add("--middleware", action="append", default=[])
        add("--served-model-name", nargs="+")
        add("--chat-template")
        return parser

    def validate(self, args: argparse.Namespace) -> None:
        """Check combinations of options."""
        if args.enable_auto_tool_choice and not args.tool_call_parser:
            raise TypeError("--enable-auto-tool-choice requires --tool-call-parser")


def cmd_init() -> list[ServeSubcommand]:
    return [ServeSubcommand()]


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the whole command line."""
    parser = FlexibleArgumentParser(prog="vllm")
    subparsers = parser.add_subparsers(dest="subparser", required=True)
    command = ServeSubcommand()
    command.subparser_init(subparsers)
    args: argparse.Namespace = parser.parse_args(arguments)
    command.validate(args)
    args.model = args.model_tag or args.model
    return args
