"""What an adapter is, and what was asked for."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from ..contract.headers import header_text
from ..exceptions import AdapterError

LONGEST_NAME: Final = 256
#: How many names an error lists.
_MOST_SHOWN: Final = 50

#: Why an adapter is never loaded again by itself.
DEADLY: Final = (
    "The engine ended while it loaded this adapter. POST it again, or update it, to "
    "try once more."
)

#: loading: being registered. ready: answers requests. failed: it did, and cannot any
#: more. draining: no new request sees it; those that run finish.
State = Literal["loading", "ready", "failed", "draining"]


class AdapterSpec(msgspec.Struct, frozen=True):
    """A registration that was asked for.

    ``replace`` lets it take the name of another adapter (``load_inplace``). ``options``
    are further fields of the request that the engine knows what to do with.
    """

    name: str
    src: str
    preload: bool = True
    pin: bool = False
    replace: bool = False
    options: Mapping[str, Any] = {}


class Adapter(msgspec.Struct, frozen=True):
    """A registered adapter.

    ``id`` only grows from one registration to the next and is never used twice, nor is
    ``engine_name``: engines cache by either of them. ``path`` is ``src`` with symbolic
    links resolved. ``loaded`` tells that the engine has accepted it since it started.
    ``by_handler`` tells that a handler of somebody's own loaded it, not the engine.
    """

    id: int
    name: str
    src: str
    path: str
    engine_name: str
    preload: bool
    pin: bool
    state: State
    loaded: bool
    by_handler: bool
    reason: str | None
    options: Mapping[str, Any]

    @property
    def answers(self) -> bool:
        return self.state == "ready"

    def describe(self) -> dict[str, Any]:
        """Return what a client may know of it."""
        status = "loaded" if self.loaded else "registered"
        known: dict[str, Any] = {
            "name": self.name,
            "src": self.src,
            "preload": self.preload,
            "pin": self.pin,
            "status": status if self.answers else "failed",
        }
        return known if self.reason is None else {**known, "reason": self.reason}


def check_name(name: Any) -> str:
    """Return a name that can be registered, read and deleted.

    Raises:
        AdapterError: it is none.
    """
    if not isinstance(name, str) or not name:
        raise AdapterError("An adapter needs a name: a string of 1 to 256 characters.")
    if len(name) > LONGEST_NAME:
        raise AdapterError(
            f"The adapter's name has {len(name)} characters; use up to {LONGEST_NAME}."
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise AdapterError(f"The adapter's name {name!r} has control characters.")
    if name != name.strip():
        raise AdapterError(
            f"The adapter's name {name!r} begins or ends with white space, which is "
            "lost in a header."
        )
    if (read := header_text(_as_latin_1(name))) != name:
        raise AdapterError(
            f"The adapter's name {name!r} is {read!r} in the header of a client that "
            "writes latin-1: use that name."
        )
    if {".", ".."} & set(name.split("/")):
        raise AdapterError(
            f"The adapter's name {name!r} has a part that clients take out of a path."
        )
    return name


def _as_latin_1(name: str) -> bytes:
    """Return what HTTP libraries make a header's value of, where they can."""
    try:
        return name.encode("latin-1")
    except UnicodeEncodeError:
        return name.encode()


def join_names(names: Sequence[str]) -> str:
    """Return the names for an error, as many as a reader looks at."""
    more = len(names) - _MOST_SHOWN
    shown = ", ".join(names[:_MOST_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
