"""The command ``vllm serve``: one server, several, or the one in Rust."""

import asyncio
import os
import sys

from vllm.entrypoints.cli.serve import parse_arguments


def main() -> None:
    args = parse_arguments(sys.argv[1:])
    if os.environ.get("VLLM_USE_RUST_FRONTEND", "0") == "1":
        from vllm.entrypoints.cli.rust import run_rust_frontend

        run_rust_frontend(args)
    elif args.api_server_count > 1:
        from vllm.entrypoints.cli.multiple import run_multi_api_server

        run_multi_api_server(args)
    else:
        from vllm.entrypoints.launchers.api_server.entry import run_server

        asyncio.run(run_server(args))
