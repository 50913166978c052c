"""This package's own loggers. The root logger, and every other one, is left alone."""

from __future__ import annotations

import logging
import sys
from typing import Final

ROOT_NAME: Final = "model_hosting_container_standards"
FORMAT: Final = "%(levelname)s %(asctime)s [%(name)s] %(message)s"

logger = logging.getLogger(ROOT_NAME)


def get_logger(name: str) -> logging.Logger:
    """Return the logger ``name`` below this package's logger."""
    if name == ROOT_NAME or name.startswith(f"{ROOT_NAME}."):
        return logging.getLogger(name)
    return logger.getChild(name)


def configure_logging(level: int) -> None:
    """Set the level of our loggers, and give them a way out where there is none.

    A handler (stderr) is added only when neither our logger nor the root logger has
    one: where the server has set up logging, its handlers print our lines, once.
    """
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(FORMAT))
        logger.addHandler(handler)


def enable_debug_logging() -> None:
    """Log everything this package has to say."""
    configure_logging(logging.DEBUG)


def reset_logging() -> None:
    """Undo :func:`configure_logging`."""
    logger.setLevel(logging.NOTSET)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
