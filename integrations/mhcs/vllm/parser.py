"""The parser of ``vllm serve``: importing this imports most of vLLM."""

from __future__ import annotations

from vllm.entrypoints.cli import serve

from ..serve.argparse_parser import ArgparseParser


def make_parser() -> ArgparseParser:
    """Return the parser of the ``vllm`` command, with ``serve`` alone as subcommand."""
    parser = serve.FlexibleArgumentParser(prog="vllm")
    subcommands = parser.add_subparsers(dest="subparser")
    [command] = serve.cmd_init()
    options = command.subparser_init(subcommands)
    return ArgparseParser(parser, options, ["serve", "model"], command.validate)
