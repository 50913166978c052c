"""This package's own loggers. The root logger, and every other one, is left alone."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final, TextIO

from .request_id import REQUEST_ID

if TYPE_CHECKING:
    StderrHandler = logging.StreamHandler[TextIO]
else:  # It is no generic class at run time, before Python 3.11.
    StderrHandler = logging.StreamHandler

ROOT_NAME: Final = "model_hosting_container_standards"
FORMAT: Final = "%(levelname)s %(asctime)s [%(name)s] %(message)s"
#: The forms that lines have.
TEXT: Final = "text"
JSON: Final = "json"

logger = logging.getLogger(ROOT_NAME)


class _LastResortHandler(StderrHandler):
    """Prints what nobody else would: our lines are passed on to the root logger too."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


class _JSONHandler(StderrHandler):
    """Prints our lines, which are not passed on."""


class _TextFormatter(logging.Formatter):
    """Ends a line with the id of the request that it is about."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", None)
        return line if request_id is None else f"{line} [{request_id}]"


def _add_request_id(record: logging.LogRecord) -> bool:
    """Set ``record.request_id``, for formatters: None outside of requests.

    The message and its arguments stay as they are: error trackers group by them.
    """
    record.request_id = REQUEST_ID.get()
    return True


logger.addFilter(_add_request_id)


def get_logger(name: str) -> logging.Logger:
    """Return the logger ``name`` below this package's logger."""
    if name != ROOT_NAME and not name.startswith(f"{ROOT_NAME}."):
        name = f"{ROOT_NAME}.{name}"
    found = logging.getLogger(name)
    # A logger's filters see what it logs itself, not what is logged below it.
    found.addFilter(_add_request_id)
    return found


def configure_logging(level: int, form: str = TEXT) -> None:
    """Set the level and form of our loggers' lines, and give them a way out.

    As text they go to the root logger's handlers, whoever set those up, before us or
    later; as long as there are none, a handler (stderr) of our own prints them. As JSON
    that handler alone does.
    """
    logger.setLevel(level)
    if form == JSON:
        _print_json()
    elif not logger.handlers:
        handler = _LastResortHandler(sys.stderr)
        handler.setFormatter(_TextFormatter(FORMAT))
        logger.addHandler(handler)


def _print_json() -> None:
    if _prints_json():
        return
    # Imported late, as only servers that were asked for it need it.
    from .json_log_format import JSONFormatter

    for handler in logger.handlers[:]:
        if isinstance(handler, _LastResortHandler):
            logger.removeHandler(handler)
    handler = _JSONHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    logger.addHandler(handler)
    logger.propagate = False


def _prints_json() -> bool:
    return any(isinstance(handler, _JSONHandler) for handler in logger.handlers)


def enable_debug_logging() -> None:
    """Log everything this package has to say."""
    configure_logging(logging.DEBUG)


def reset_logging() -> None:
    """Undo :func:`configure_logging`."""
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
