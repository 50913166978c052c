"""``trtllm-serve`` with its subcommands ``serve`` and ``disaggregated``."""

import asyncio

from tensorrt_llm.serve import OpenAIServer

from standins.trtllm_common.command import Options, make_llm, refuse, run
from standins.trtllm_common.disaggregated import disaggregated


def serve(options: Options) -> None:
    refuse(options, "grpc", "middleware", "num_serve_frontends")
    server = OpenAIServer(
        llm=make_llm(options),
        model=options.model,
        server_role=None,
        metadata_server_cfg=None,
    )
    asyncio.run(server(options.host, options.port))


def main() -> None:
    run({"serve": serve, "disaggregated": disaggregated})
