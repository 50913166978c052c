"""The formats of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..report import Report
from .html_page import as_html
from .json_document import as_json
from .junit import as_junit
from .text import as_text

FORMATS: Final[Mapping[str, Callable[[Report], str]]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
    "html": as_html,
}
#: The format of a file, by the end of its name.
SUFFIXES: Final[Mapping[str, str]] = {
    ".txt": "text",
    ".json": "json",
    ".xml": "junit",
    ".html": "html",
}
