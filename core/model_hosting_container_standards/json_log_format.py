"""Formats log lines as JSON objects."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

import msgspec


class JSONFormatter(logging.Formatter):
    """Formats each record as a JSON object on one line; times are UTC (ISO 8601)."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _format_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _encodable(record.getMessage()),
        }
        if (request_id := getattr(record, "request_id", None)) is not None:
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = _encodable(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat("T", "milliseconds")


def _encodable(text: str) -> str:
    """Escape lone surrogates, which undecodable file names contain."""
    return text.encode(errors="backslashreplace").decode()
