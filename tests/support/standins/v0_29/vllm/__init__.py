"""vLLM since 0.29: build_app in a module of its own, spawned API servers."""

from pathlib import Path

from standins.common.logs import configure_logging

__version__ = "0.29.0"
# The modules it has in common with its neighbours.
__path__.append(str(Path(__file__).parents[2] / "since_0_15" / "vllm"))

configure_logging()
