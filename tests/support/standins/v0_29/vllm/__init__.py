"""vLLM since 0.29: build_app in a module of its own, spawned API servers."""

from pathlib import Path

from standins.common.logs import configure_logging

__version__ = "0.29.0"
# Shared with other releases.
__path__.append(str(Path(__file__).parents[2] / "since_0_15" / "vllm"))

configure_logging()
