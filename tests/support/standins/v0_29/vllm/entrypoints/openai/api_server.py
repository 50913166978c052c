"""The old path of the server: deprecated, and of no use to ``vllm serve``."""

from vllm.entrypoints.launchers.api_server.entry import run_server, run_server_worker
from vllm.entrypoints.launchers.app import build_app

__all__ = ["build_app", "run_server", "run_server_worker"]

if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
