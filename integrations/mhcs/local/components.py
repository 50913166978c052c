"""Inference components: names for the base model and for adapters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from .errors import ValidationError
from .parameters import INFERENCE_COMPONENT

_ADAPTER: Final = "x-amzn-sagemaker-adapter-identifier"


class Component(msgspec.Struct):
    """An inference component.

    Args:
        source: an adapter's folder; None for the base model.
        problem: why the adapter could not be registered.
    """

    name: str
    source: str | None = None
    problem: str | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers by which the container knows the component.

        Raises:
            ValidationError: the component failed.
        """
        if self.problem is not None:
            raise ValidationError(
                f"The inference component {self.name} failed: {self.problem}"
            )
        headers = {INFERENCE_COMPONENT.header: self.name}
        return headers if self.source is None else {**headers, _ADAPTER: self.name}


class Components:
    """The inference components of the endpoint; there may be none."""

    def __init__(self, components: Iterable[Component]) -> None:
        self._by_name = {component.name: component for component in components}

    def all(self) -> list[Component]:
        """Return the components, in the order in which they were given."""
        return [*self._by_name.values()]

    def headers(self, name: str | None) -> dict[str, str]:
        """Return the headers of a request for a component.

        Args:
            name: the request's ``InferenceComponentName``.

        Raises:
            ValidationError: there is no such component, or the name is missing.
        """
        if name is None and not self._by_name:
            return {}
        if name is None:
            raise ValidationError(
                "InferenceComponentName is missing: the endpoint has the inference "
                f"components {', '.join(self._by_name)}."
            )
        if name not in self._by_name:
            known = ", ".join(self._by_name) or "none"
            raise ValidationError(
                f"There is no inference component {name} (there are: {known}). Start "
                f"with --inference-component {name}, or {name}=FOLDER for an adapter."
            )
        return self._by_name[name].headers()


def parse_components(texts: Iterable[str]) -> list[Component]:
    """Return the components of ``NAME`` or ``NAME=FOLDER``.

    Raises:
        ValueError: a name or a folder is not allowed, or a name is there twice.
    """
    components = [_parse(text) for text in texts]
    names = [component.name for component in components]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"There are several inference components {name}.")
    return components


def _parse(text: str) -> Component:
    name, equals, folder = text.partition("=")
    try:
        INFERENCE_COMPONENT.check(name)
    except ValidationError as error:
        raise ValueError(str(error)) from None
    if equals and not folder:
        raise ValueError(f"{text}: the adapter's folder is missing behind the =.")
    return Component(name, _absolute(folder) if equals else None)


def _absolute(folder: str) -> str:
    """Return a folder's absolute path; one that is not here may be in the container."""
    path = Path(folder)
    return str(path.resolve()) if path.exists() else folder
