"""Several API servers: spawned, sharing one socket that this process bound."""

from argparse import Namespace

from vllm.entrypoints.launchers.api_server.entry import run_api_server_worker_proc

from standins.common.processes import spawn, wait_for_all
from standins.common.server import bind


def run_multi_api_server(args: Namespace) -> None:
    sock = bind(args)
    servers = [
        spawn(run_api_server_worker_proc, sock, args)
        for _ in range(args.api_server_count)
    ]
    wait_for_all(servers)
