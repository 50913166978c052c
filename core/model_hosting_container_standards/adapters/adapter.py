"""The data model of adapters: a requested registration and a registered adapter."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from ..contract.headers import header_text
from ..exceptions import AdapterError

#: Characters.
MAX_NAME_LENGTH: Final = 256
#: The largest number of names that an error lists.
_MAX_SHOWN: Final = 50

#: The reason kept for an adapter that is never reloaded automatically.
ENGINE_CRASHED: Final = (
    "The engine ended while it loaded this adapter. POST or update the adapter to try "
    "again."
)

#: loading: being registered. ready: answers requests. failed: was registered, but can
#: no longer be loaded. draining: hidden from new requests while running ones finish.
State = Literal["loading", "ready", "failed", "draining"]


class AdapterSpec(msgspec.Struct, frozen=True):
    """A requested registration.

    ``replace`` allows it to replace an adapter of the same name (``load_inplace``).
    ``options`` are engine-specific fields of the request.
    """

    name: str
    src: str
    preload: bool = True
    pin: bool = False
    replace: bool = False
    options: Mapping[str, Any] = {}


class Adapter(msgspec.Struct, frozen=True):
    """A registered adapter.

    ``id`` increases with each registration. Neither ``id`` nor ``engine_name`` is ever
    reused, because engines cache by them. ``engine_id`` is the engine's own id of it,
    if it has one. ``path`` is ``src`` with symbolic links resolved. ``loaded``: the
    engine has loaded it since the engine started. ``by_handler``: a registered load
    handler loaded it, not the engine itself.
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
    engine_id: str | None = None

    @property
    def answers(self) -> bool:
        return self.state == "ready"

    def describe(self) -> dict[str, Any]:
        """Return the JSON object that clients see."""
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
    """Return the name if it can be registered, read and deleted over HTTP.

    Raises:
        AdapterError: it cannot; the text says why.
    """
    if not isinstance(name, str) or not name:
        raise AdapterError("An adapter needs a name: a string of 1 to 256 characters.")
    if len(name) > MAX_NAME_LENGTH:
        raise AdapterError(
            f"The adapter's name has {len(name)} characters; use up to "
            f"{MAX_NAME_LENGTH}."
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise AdapterError(f"The adapter's name {name!r} has control characters.")
    if name != name.strip():
        raise AdapterError(
            f"The adapter's name {name!r} begins or ends with white space, which HTTP "
            "headers drop."
        )
    if (read := header_text(_as_latin_1(name))) != name:
        raise AdapterError(
            f"The adapter's name {name!r} would be read as {read!r} from the header "
            "of a client that encodes in latin-1: use that name."
        )
    if {".", ".."} & set(name.split("/")):
        raise AdapterError(
            f"The adapter's name {name!r} has a '.' or '..' part, which HTTP clients "
            "remove from URLs."
        )
    return name


def _as_latin_1(name: str) -> bytes:
    """Encode a header value as HTTP clients do: in latin-1, else in UTF-8."""
    try:
        return name.encode("latin-1")
    except UnicodeEncodeError:
        return name.encode()


def join_names(names: Sequence[str]) -> str:
    """Join names for an error text; only the first 50 are listed."""
    more = len(names) - _MAX_SHOWN
    shown = ", ".join(names[:_MAX_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
