"""Handler specs: ``model.py:fn``, ``package.module:fn`` or ``/path/of/the/app``."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from ..exceptions import InvalidHandlerSpecError

FORMS = (
    "model.py:function, /opt/ml/model/handlers.py:function, package.module:function, "
    "model.py:Class.method or /v1/health (a path of the app itself)"
)
_NAMES = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_PATH = re.compile(r"/[^\s?#]*")


class HandlerSpec(msgspec.Struct, frozen=True):
    """A parsed handler spec.

    ``location`` is, by ``kind``: a Python file (absolute, or relative to the model
    folder), a module's dotted name, or a path of the app. ``attribute`` is the dotted
    name inside the file or module, and empty for a path.
    """

    kind: Literal["file", "module", "path"]
    location: str
    attribute: str = ""

    @property
    def reference(self) -> str:
        """The code reference in the form that ``FunctionLoader`` takes."""
        return f"{self.location}:{self.attribute}"


def parse_handler_spec(spec: str) -> HandlerSpec:
    """Parse a spec, without checking that what it names exists.

    Raises:
        InvalidHandlerSpecError: it does not have a known form.
    """
    location, _, attribute = spec.rpartition(":")
    if location.endswith(".py") and _NAMES.fullmatch(attribute):
        return _file_spec(spec, location, attribute)
    if _NAMES.fullmatch(location) and _NAMES.fullmatch(attribute):
        return HandlerSpec("module", location, attribute)
    if _PATH.fullmatch(spec) and ".py" not in spec:
        return HandlerSpec("path", spec)
    raise InvalidHandlerSpecError(f"{spec!r} is not a handler spec: write {FORMS}.")


def _file_spec(spec: str, location: str, attribute: str) -> HandlerSpec:
    if not location.startswith("/") and ".." in location.split("/"):
        raise InvalidHandlerSpecError(
            f"{spec!r} leaves the model folder: write the file's absolute path."
        )
    return HandlerSpec("file", location, attribute)
