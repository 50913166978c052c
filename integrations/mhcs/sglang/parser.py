"""The parser of ``sglang serve``: importing this imports part of SGLang."""

from __future__ import annotations

import argparse

from sglang.srt.server_args import ServerArgs

from ..serve.argparse_parser import ArgparseParser


def make_parser() -> ArgparseParser:
    """Return the parser of the server's options."""
    parser = argparse.ArgumentParser(prog="sglang serve")
    ServerArgs.add_cli_args(parser)
    return ArgparseParser(parser, parser, ["--model-path", "model"])
