"""vLLM 0.10: /ping and /invocations of its own, undecorated."""

from pathlib import Path

from standins.common.logs import configure_logging

__version__ = "0.10.2"
# Shared with other releases.
__path__.append(str(Path(__file__).parents[2] / "until_0_14" / "vllm"))

configure_logging()
