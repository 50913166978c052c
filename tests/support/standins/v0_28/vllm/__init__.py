"""vLLM 0.15 to 0.28: calls our package, and has split its protocol module."""

from pathlib import Path

from standins.common.logs import configure_logging

__version__ = "0.28.0"
# Shared with other releases.
__path__.append(str(Path(__file__).parents[2] / "since_0_15" / "vllm"))

configure_logging()
