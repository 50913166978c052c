"""The server's old module: deprecated, and not used by ``vllm serve``."""

from vllm.entrypoints.launchers.api_server.entry import run_server, run_server_worker
from vllm.entrypoints.launchers.app import build_app

__all__ = ["build_app", "run_server", "run_server_worker"]

if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
