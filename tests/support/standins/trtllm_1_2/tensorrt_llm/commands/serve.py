"""``trtllm-serve`` with gRPC and an encoder; binds before it loads the model."""

import asyncio

from tensorrt_llm.serve import OpenAIServer

from standins.trtllm_common.command import (
    Options,
    bound_socket,
    launch_grpc_server,
    make_llm,
    refuse,
    run,
)
from standins.trtllm_common.disaggregated import disaggregated


def serve(options: Options) -> None:
    refuse(options, "middleware", "num_serve_frontends")
    if options.grpc:
        launch_grpc_server(options)
    else:
        _launch_server(options, None)


def serve_encoder(options: Options) -> None:
    _launch_server(options, "MM_ENCODER")


def _launch_server(options: Options, role: str | None) -> None:
    with bound_socket(options) as sock:
        server = OpenAIServer(
            llm=make_llm(options),
            model=options.model,
            tool_parser=None,
            server_role=role,
            metadata_server_cfg=None,
        )
        asyncio.run(server(options.host, options.port, sockets=[sock]))


def main() -> None:
    run(
        {
            "serve": serve,
            "disaggregated": disaggregated,
            "mm_embedding_serve": serve_encoder,
        }
    )
