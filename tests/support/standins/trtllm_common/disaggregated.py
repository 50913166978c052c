"""The subcommand ``disaggregated``; the real one reads its address from its file."""

import asyncio
from argparse import Namespace


def disaggregated(options: Namespace) -> None:
    from tensorrt_llm.serve import OpenAIDisaggServer

    server = OpenAIDisaggServer(config=options.config_file)
    asyncio.run(server(options.host, options.port))
