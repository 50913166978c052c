"""The command ``vllm serve``."""

import asyncio
import sys

from standins.common.server import parse_arguments


def main() -> None:
    command, *arguments = sys.argv[1:]
    if command != "serve":
        raise SystemExit(f"vllm: there is no command {command}")
    # As in vLLM: the server's modules are imported by the command that needs them.
    from vllm.entrypoints.openai.api_server import run_server

    asyncio.run(run_server(parse_arguments(arguments)))
