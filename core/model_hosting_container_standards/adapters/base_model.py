"""The modules of the base model and their widths, which adapters must match.

An engine ignores adapter weights for modules that the model lacks, and then answers as
if no adapter were loaded. Only what no engine could use is rejected here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

#: Digits of a layer number that are read: no model has a million layers.
_DIGITS: Final = 6


class Widths(NamedTuple):
    """The input and output features of a module; None: unknown."""

    inputs: int | None = None
    outputs: int | None = None


UNKNOWN: Final = Widths()


class BaseModel(Protocol):
    """The model that an engine serves. Modules have PEFT's names."""

    def find(self, name: str) -> Widths | None:
        """Return the widths of a module; None: the model does not have it."""

    def missing(self, name: str) -> str:
        """Return a message that the module is missing, with the nearest match."""


class LayerCount:
    """A model of which only the number of layers is known."""

    def __init__(self, layers: int) -> None:
        self._layers = layers

    def find(self, name: str) -> Widths | None:
        number = Place(name).number
        return UNKNOWN if number is None or number < self._layers else None

    def missing(self, name: str) -> str:
        return f"the model has no {name}: its layers are 0 to {self._layers - 1}"


class Checkpoint:
    """A model whose checkpoint has been read.

    Args:
        modules: the modules of the checkpoint, by name.
        any_prefix: the engine's module prefixes may differ from the checkpoint's.
    """

    def __init__(
        self, modules: Mapping[str, Widths], *, any_prefix: bool = False
    ) -> None:
        self.any_prefix = any_prefix
        self._modules: dict[str, Widths] = {}
        #: Layer numbers by the prefix before them, such as ``model.layers``.
        self._layers: dict[str, set[int]] = {}
        #: One module for each position within a layer, for suggestions.
        self._by_tail: dict[str, str] = {}
        for name, widths in modules.items():
            place = self._place(name)
            known = self._modules.setdefault(place.name, widths)
            if known != widths:
                self._modules[place.name] = UNKNOWN
            if place.number is not None:
                self._layers.setdefault(place.stack, set()).add(place.number)
                self._by_tail[place.tail] = place.name

    def find(self, name: str) -> Widths | None:
        place = self._place(name)
        if place.number is None:
            # Embeddings and heads: their widths change with the vocabulary, and one
            # that the checkpoint lacks may be tied, or come with the adapter.
            return UNKNOWN
        # The layout of experts differs between engine releases.
        if ".experts" in place.name and self._has_layer(place):
            return self._modules.get(place.name, UNKNOWN)
        return self._modules.get(place.name)

    def missing(self, name: str) -> str:
        place = self._place(name)
        sentence = f"the model has no {place.name}"
        if (other := self._by_tail.get(place.tail)) is not None:
            return f"{sentence}, but {other}"
        numbers = self._layers.get(place.stack)
        if numbers and not self._has_layer(place):
            return f"{sentence}: its layers are {min(numbers)} to {max(numbers)}"
        return sentence

    def _has_layer(self, place: Place) -> bool:
        return place.number in self._layers.get(place.stack, ())

    def _place(self, name: str) -> Place:
        place = Place(name)
        return Place(place.tail) if self.any_prefix else place


class Place:
    """A parsed module name: ``model.layers.7.self_attn.q_proj`` is in layer 7."""

    def __init__(self, name: str) -> None:
        self.name = name
        parts = name.split(".")
        at = next((at for at, part in enumerate(parts) if part.isdecimal()), 0)
        is_number = parts[at].isdecimal()
        self.number = int(parts[at][:_DIGITS]) if is_number else None
        #: Such as ``model.layers``.
        self.stack = ".".join(parts[:at])
        #: Such as ``layers.7.self_attn.q_proj``.
        self.tail = ".".join(parts[max(0, at - 1) :])
