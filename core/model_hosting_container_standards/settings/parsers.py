"""Parsers of environment variables' values.

Each raises :class:`ValueError`; the text says what is allowed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Ten years: short enough for any date calculation.
_MAX_SECONDS = 315_360_000

#: More than any sensible count.
_MAX_COUNT = 1_000_000

#: The path of a URL. Without ``%``, as servers match the decoded path.
_ROUTE = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@/-]*")

_TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
_FALSE_WORDS = frozenset({"0", "false", "no", "off"})


def parse_boolean(value: str) -> bool:
    word = value.lower()
    if word in _TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    raise ValueError("use 1, true, yes or on, or 0, false, no or off")


def parse_log_level(value: str) -> int:
    if value.isdecimal():
        return int(value)
    level = logging.getLevelName(value.upper())
    if isinstance(level, int):
        return level
    raise ValueError("use DEBUG, INFO, WARNING, ERROR, CRITICAL or a number")


def parse_seconds(value: str) -> int:
    if value.isdecimal() and 0 < int(value) <= _MAX_SECONDS:
        return int(value)
    raise ValueError(f"use a whole number of seconds from 1 to {_MAX_SECONDS}")


def parse_count(value: str) -> int:
    if value.isdecimal() and int(value) > 0:
        return int(value)
    raise ValueError("use a whole number above 0")


def parse_rate(value: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (rate := float(value)) < math.inf:
            return rate
    raise ValueError("use a number above 0")


def parse_whole_number(value: str) -> int:
    if value.isdecimal() and value.isascii() and int(value) <= _MAX_COUNT:
        return int(value)
    raise ValueError(f"use a whole number from 0 to {_MAX_COUNT}")


def parse_batch_strategy(value: str) -> str:
    """Return SageMaker's spelling, also for that of its API, ``MultiRecord``."""
    word = value.lower().replace("_", "")
    if word in ("multirecord", "singlerecord"):
        return f"{word.removesuffix('record')}_RECORD".upper()
    raise ValueError("use MULTI_RECORD or SINGLE_RECORD")


def parse_dialect(value: str) -> str:
    if (dialect := value.lower()) in ("tgi", "lmi"):
        return dialect
    raise ValueError("use tgi or lmi")


def parse_port(value: str) -> int:
    if not (value.isdecimal() and value.isascii()) or not 0 < int(value) < 65536:
        raise ValueError("use a port from 1 to 65535")
    return int(value)


def parse_route(value: str) -> str:
    if not _ROUTE.fullmatch(value):
        raise ValueError("use the path of a URL, such as /predict")
    return value


def parse_log_format(value: str) -> str:
    if (form := value.lower()) in ("text", "json"):
        return form
    raise ValueError("use text or json")


def parse_unknown_model(value: str) -> bool:
    """Return whether the base model answers for unknown names."""
    if value.lower() == "base":
        return True
    raise ValueError("use base, or leave it unset: unknown models are a 404")


def parse_folder(value: str) -> Path:
    path = Path(value)
    if not path.is_dir():
        raise ValueError("use an existing folder that is empty at startup")
    return path


def parse_file(value: str) -> Path:
    path = Path(value)
    if not path.parent.is_dir():
        raise ValueError(f"the folder {str(path.parent)!r} does not exist")
    return path


def parse_script(value: str) -> str | None:
    """Return a file name; None for ``none`` and ``/dev/null``: no script."""
    return None if value.lower() in ("none", "/dev/null") else value


def parse_words(value: str) -> tuple[str, ...]:
    """Return words, split and unquoted as by a shell."""
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError(f"quote it as for a shell ({error})") from None


def parse_names(value: str) -> frozenset[str]:
    """Return comma separated engine names, normalised to module names."""
    names = (name.strip().lower().replace("-", "_") for name in value.split(","))
    return frozenset(name for name in names if name)


def parse_defaults(value: str) -> Mapping[str, Any]:
    """Return the ``"body.x.y": value`` pairs of a JSON object, without ``body.``."""
    try:
        pairs = json.loads(value)
    except ValueError as error:
        raise ValueError(f"write a JSON object ({error})") from None
    if not isinstance(pairs, dict):
        raise ValueError("write a JSON object")
    for path in pairs:
        prefix, *fields = path.split(".")
        if prefix != "body" or not fields or not all(fields):
            raise ValueError(f'{path!r} is not a path such as "body.field"')
    return {path.removeprefix("body."): pairs[path] for path in pairs}
