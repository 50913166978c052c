"""A launch script that patches the engine, and configures logging."""

import logging

import mhcs.auto  # noqa: F401 - patches engines

# isort: split
from vllm.entrypoints.cli.main import main

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="launch: %(message)s")
    main()
