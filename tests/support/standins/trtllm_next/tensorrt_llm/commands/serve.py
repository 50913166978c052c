"""``trtllm-serve`` after main: the model is loaded once the server listens."""

import asyncio

from tensorrt_llm.serve import OpenAIServer

from standins.trtllm_common.command import (
    Options,
    add_middleware,
    bound_socket,
    launch_grpc_server,
    make_llm,
    read_config,
    refuse,
    run,
)
from standins.trtllm_common.disaggregated import disaggregated


def serve(options: Options) -> None:
    refuse(options, "num_serve_frontends")
    if options.grpc:
        launch_grpc_server(options)
    else:
        _launch_server(options, None)


def serve_encoder(options: Options) -> None:
    _launch_server(options, "MM_ENCODER")


def _launch_server(options: Options, role: str | None) -> None:
    config = read_config(options)
    with bound_socket(options) as sock:
        server = OpenAIServer(
            generator_factory=lambda: make_llm(options),
            model=options.model,
            server_role=role,
            return_perf_metrics=config.get("return_perf_metrics", False),
        )
        add_middleware(server.app, options.middleware)
        asyncio.run(server(options.host, options.port, sockets=[sock]))


def main() -> None:
    run(
        {
            "serve": serve,
            "disaggregated": disaggregated,
            "mm_embedding_serve": serve_encoder,
        }
    )
