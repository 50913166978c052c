"""vLLM 0.15 to 0.28: knows our package, and has split its protocol module."""

from pathlib import Path

from standins.common.logs import configure_logging

__version__ = "0.28.0"
# The modules it has in common with its neighbours.
__path__.append(str(Path(__file__).parents[2] / "since_0_15" / "vllm"))

configure_logging()
