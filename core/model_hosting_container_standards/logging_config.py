"""This package's own loggers. The root logger, and every other one, is left alone."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    StderrHandler = logging.StreamHandler[TextIO]
else:  # It is no generic class at run time, before Python 3.11.
    StderrHandler = logging.StreamHandler

ROOT_NAME: Final = "model_hosting_container_standards"
FORMAT: Final = "%(levelname)s %(asctime)s [%(name)s] %(message)s"

logger = logging.getLogger(ROOT_NAME)


class _LastResortHandler(StderrHandler):
    """Prints what nobody else would: our lines are passed on to the root logger too."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def get_logger(name: str) -> logging.Logger:
    """Return the logger ``name`` below this package's logger."""
    if name == ROOT_NAME or name.startswith(f"{ROOT_NAME}."):
        return logging.getLogger(name)
    return logger.getChild(name)


def configure_logging(level: int) -> None:
    """Set the level of our loggers, and give them a way out where there is none.

    A handler (stderr) of our own prints our lines as long as the root logger has none:
    where logging is set up, before us or later, its handlers do so.
    """
    logger.setLevel(level)
    if not logger.handlers:
        handler = _LastResortHandler(sys.stderr)
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
