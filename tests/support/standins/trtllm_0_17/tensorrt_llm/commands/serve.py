"""``trtllm-serve`` of 0.17: one command, ``trtllm-serve MODEL``."""

import asyncio

from tensorrt_llm.serve import OpenAIServer

from standins.trtllm_common.command import Options, make_llm, refuse, run_alone


def serve(options: Options) -> None:
    refuse(options, "grpc", "middleware", "num_serve_frontends")
    llm = make_llm(options)
    server = OpenAIServer(llm=llm, model=options.model, hf_tokenizer=llm.tokenizer)
    asyncio.run(server(options.host, options.port))


def main() -> None:
    run_alone(serve)
