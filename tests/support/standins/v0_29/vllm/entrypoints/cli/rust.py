"""``VLLM_USE_RUST_FRONTEND``: an engine in Python behind a server in Rust."""

import sys
from argparse import Namespace
from pathlib import Path

from vllm.engine_core import run_engine_core

from standins.common import frontend
from standins.common.processes import spawn, spawn_program, wait_for_all


def run_rust_frontend(args: Namespace) -> None:
    # A program without our package, like the real one.
    program = [sys.executable, "-I", "-S", str(Path(frontend.__file__))]
    wait_for_all(
        [
            spawn(run_engine_core),
            spawn_program([*program, args.host, str(args.port)]),
        ]
    )
