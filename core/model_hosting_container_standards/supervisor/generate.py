"""The command ``generate-supervisor-config``: the configuration, for one's own use."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..exceptions import ConfigurationError
from ..logging_config import configure_logging, get_logger
from ..settings import read_settings
from .configuration import configure
from .overrides import PROGRAM
from .private_file import write_private

logger = get_logger(__name__)


def main() -> None:
    """Write the configuration for the command of the command line."""
    arguments = make_parser().parse_args()
    configure_logging(arguments.log_level)
    output: Path = arguments.output
    try:
        text = configure(
            [arguments.command, *arguments.arguments],
            read_settings(),
            os.environ,
            pid_file=Path(f"{output}.pid"),
            program=arguments.program_name,
            # A supervisord of one's own takes what ends sooner for a failed start,
            # whatever its status is.
            healthy_s=1,
        )
        write_private(output, text)
    except (ConfigurationError, OSError) as error:
        sys.exit(f"generate-supervisor-config: {error}")
    logger.info("%s is written", output)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="generate-supervisor-config",
        description="Write a configuration by which supervisord runs a command.",
    )
    add = parser.add_argument
    name = "the program's name (%(default)s)"
    levels = ("ERROR", "INFO", "DEBUG")
    add("-o", "--output", type=Path, required=True, help="the file to write")
    add("-p", "--program-name", default=PROGRAM, help=name)
    add("--log-level", choices=levels, default="ERROR", help="level of our log")
    add("command", help="the command to run")
    add("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return parser
