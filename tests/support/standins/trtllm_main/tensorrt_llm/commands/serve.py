"""``trtllm-serve`` of main: several front ends, and middleware by name."""

import asyncio

from tensorrt_llm.serve import OpenAIServer

from standins.trtllm_common import frontends
from standins.trtllm_common.command import (
    Options,
    add_middleware,
    bound_socket,
    launch_grpc_server,
    make_llm,
    read_config,
    run,
)
from standins.trtllm_common.disaggregated import disaggregated


def serve(options: Options) -> None:
    if options.grpc and options.middleware:
        raise SystemExit("Error: --middleware is not supported with --grpc")
    if options.grpc:
        launch_grpc_server(options)
    else:
        _launch_server(options, None)


def serve_encoder(options: Options) -> None:
    _launch_server(options, "MM_ENCODER")


def _launch_server(options: Options, role: str | None) -> None:
    # The file's number is used if the command line has none.
    count = options.num_serve_frontends
    if count == 1:
        count = read_config(options).get("num_serve_frontends", 1)
    attached = frontends.is_attached()
    with bound_socket(options, reuse_port=count > 1) as sock:
        llm = make_llm(options)
        server = OpenAIServer(
            generator=llm,
            model=options.model,
            tool_parser=None,
            server_role=role,
            metadata_server_cfg=None,
        )
        add_middleware(server.app, options.middleware)
        children, sockets = [], [sock]
        if attached:
            frontends.say_ready()
        elif count > 1:
            sockets.append(frontends.launcher_socket())
            children = frontends.spawn_attached(llm, count)
        try:
            asyncio.run(server(options.host, options.port, sockets=sockets))
        finally:
            frontends.terminate(children)


def main() -> None:
    run(
        {
            "serve": serve,
            "disaggregated": disaggregated,
            "mm_embedding_serve": serve_encoder,
        }
    )
