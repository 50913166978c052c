"""A launching script that patches the engine, and has logging of its own."""

import logging

import mhcs.auto  # noqa: F401 - patches engines

# isort: split
from vllm.entrypoints.cli.main import main

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="launch: %(message)s")
    main()
