"""The command line: ``trtllm-serve [serve] MODEL ...`` and the other subcommands."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from standins.trtllm_common.llm import LLM

Options = argparse.Namespace

_POLL_S: Final = 0.02


def run(commands: Mapping[str, Callable[[Options], None]]) -> None:
    """Run the named subcommand, or else ``serve``."""
    arguments = sys.argv[1:]
    name = arguments.pop(0) if arguments[:1] and arguments[0] in commands else "serve"
    commands[name](_parser(name).parse_args(arguments))


def run_alone(command: Callable[[Options], None]) -> None:
    """Run the only command of a release without subcommands."""
    command(_parser("serve").parse_args())


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"trtllm-serve {name}", allow_abbrev=False)
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8000)
    if name == "disaggregated":
        parser.add_argument("-c", "--config_file")
        return parser
    parser.add_argument("model")
    parser.add_argument("--backend", default="pytorch")
    parser.add_argument("--tokenizer")
    parser.add_argument("--num_postprocess_workers", type=int, default=0)
    parser.add_argument("--config", "--extra_llm_api_options", dest="config")
    parser.add_argument("--grpc", action="store_true")
    parser.add_argument("--middleware", action="append", default=[])
    parser.add_argument("--num_serve_frontends", type=int, default=1)
    return parser


def add_middleware(app: FastAPI, names: list[str]) -> None:
    """Add classes and functions to a finished app, the last one outermost."""
    for name in names:
        module, _, attribute = name.rpartition(".")
        middleware: Any = getattr(import_module(module), attribute)
        is_class: bool = inspect.isclass(middleware)
        if is_class:
            app.add_middleware(middleware)
        else:
            app.middleware("http")(middleware)


def make_llm(options: Options) -> LLM:
    """Load the model that the options and their file describe.

    If ``TRTLLM_STANDIN_LOADED`` names a file, loading takes until it exists.
    """
    while (loaded := os.environ.get("TRTLLM_STANDIN_LOADED")) and not Path(
        loaded
    ).exists():
        time.sleep(_POLL_S)
    arguments = {
        "backend": options.backend,
        "num_postprocess_workers": options.num_postprocess_workers,
        "num_serve_frontends": options.num_serve_frontends,
    }
    return LLM(options.model, **{**arguments, **read_config(options)})


def read_config(options: Options) -> dict[str, Any]:
    if options.config is None:
        return {}
    # JSON is valid YAML, and json is in the standard library.
    config: dict[str, Any] = json.loads(Path(options.config).read_text())
    return config


def refuse(options: Options, *names: str) -> None:
    """Exit if an option is given that the release lacks."""
    for name in names:
        if getattr(options, name) not in (False, [], 1):
            raise SystemExit(f"Error: No such option: --{name}")


def bound_socket(options: Options, reuse_port: bool = False) -> socket.socket:
    """Bind the address before the model is loaded, without listening on it yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((options.host, options.port))
    return sock


def launch_grpc_server(options: Options) -> None:
    """Load the model and accept connections, without an app and without HTTP."""
    llm = make_llm(options)
    try:
        asyncio.run(_listen(options))
    finally:
        llm.shutdown()


async def _listen(options: Options) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(_hang_up, options.host, options.port)
    async with server:
        await stopped.wait()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
