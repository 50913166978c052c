"""The command ``vllm serve``: one server, several, or the one in Rust."""

import asyncio
import os
import sys

from standins.common.server import parse_arguments


def main() -> None:
    command, *arguments = sys.argv[1:]
    if command != "serve":
        raise SystemExit(f"vllm: there is no command {command}")
    args = parse_arguments(arguments)
    if os.environ.get("VLLM_USE_RUST_FRONTEND", "0") == "1":
        from vllm.entrypoints.cli.rust import run_rust_frontend

        run_rust_frontend(args)
    elif args.api_server_count > 1:
        from vllm.entrypoints.cli.multiple import run_multi_api_server

        run_multi_api_server(args)
    else:
        from vllm.entrypoints.launchers.api_server.entry import run_server

        asyncio.run(run_server(args))
