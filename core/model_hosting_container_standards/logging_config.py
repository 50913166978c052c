"""Configures this package's own loggers; the root logger is never changed."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final, TextIO

from .request_id import REQUEST_ID

if TYPE_CHECKING:
    StderrHandler = logging.StreamHandler[TextIO]
else:  # StreamHandler is not subscriptable at run time before Python 3.11.
    StderrHandler = logging.StreamHandler

ROOT_NAME: Final = "model_hosting_container_standards"
FORMAT: Final = "%(levelname)s %(asctime)s [%(name)s] %(message)s"
#: The formats of log lines.
TEXT: Final = "text"
JSON: Final = "json"

logger = logging.getLogger(ROOT_NAME)


class _LastResortHandler(StderrHandler):
    """Prints a line only if the root logger, which also receives it, has no handler."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


class _JSONHandler(StderrHandler):
    """Prints log lines as JSON; they are not passed on to the root logger."""


class _TextFormatter(logging.Formatter):
    """Appends the id of the request to a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", None)
        return line if request_id is None else f"{line} [{request_id}]"


def _add_request_id(record: logging.LogRecord) -> bool:
    """Set ``record.request_id``, for formatters: None outside of requests.

    The message and its arguments are not changed, as error trackers group by them.
    """
    record.request_id = REQUEST_ID.get()
    return True


logger.addFilter(_add_request_id)


def get_logger(name: str) -> logging.Logger:
    """Return the logger ``name`` below this package's logger."""
    if name != ROOT_NAME and not name.startswith(f"{ROOT_NAME}."):
        name = f"{ROOT_NAME}.{name}"
    child = logging.getLogger(name)
    # Filters are not inherited by child loggers.
    child.addFilter(_add_request_id)
    return child


def configure_logging(level: int, form: str = TEXT) -> None:
    """Set the level and format of this package's loggers.

    Text lines go to the handlers of the root logger, now and later; while it has none,
    a handler of our own prints them to stderr. JSON lines are printed to stderr only.
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
    # Imported late, as only servers with JSON logs need it.
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
    """Set the level of this package's loggers to DEBUG."""
    configure_logging(logging.DEBUG)


def reset_logging() -> None:
    """Undo :func:`configure_logging`."""
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
