"""Find the model to serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings

from .inputs import Inputs
from .model_folder import ModelFolder, read_folder
from .variables import MODEL

_HUB: Final = "HF_MODEL_ID"


class Model(msgspec.Struct, frozen=True):
    """The model to serve.

    Args:
        source: where the model was named, for messages.
        argument: the engine's argument; None if its configuration file has the model.
        options: further arguments that this model needs.
    """

    name: str
    source: str
    argument: str | None
    options: Sequence[str] = ()


def find_model(given: Inputs, settings: Settings, environ: Mapping[str, str]) -> Model:
    """Return the model.

    In order of precedence: the command line and its configuration file, the engine's
    variable, a variable's configuration file, the model folder, ``HF_MODEL_ID``.

    Raises:
        LookupError: no model was found, or the model folder cannot be used.
        ConfigurationError: the value of a variable is not a model.
    """
    config, model = given.config, given.line.model
    if model is not None:
        return Model(model, "the command line", model)
    if config is not None and config.is_on_command_line and config.model:
        return Model(config.model, config.source, None)
    for variable in given.command.model_variables:
        name = given.command.prefix + variable
        if (model := _read(environ, name)) is not None:
            return Model(model, name, model)
    if config is not None and config.model:
        return Model(config.model, config.source, None)
    return _find_unnamed(given, settings, environ)


def _find_unnamed(
    given: Inputs, settings: Settings, environ: Mapping[str, str]
) -> Model:
    """Return the model of the model folder, or else of the hub."""
    folder = _read_model_folder(settings.model_path)
    if folder is not None and folder.has_model:
        options = given.options()
        model, more = given.command.model_in(folder.path, folder.files, options)
        return Model(model, str(folder.path), model, more)
    name = given.command.prefix + MODEL
    _refuse_inner_model(folder, name)
    if (hub := _read(environ, _HUB)) is not None:
        return Model(hub, f"{_HUB}, as {_describe(settings, folder)}", hub)
    raise LookupError(_explain(settings, folder, name))


def _read(environ: Mapping[str, str], name: str) -> str | None:
    """Return the model that a variable names.

    Raises:
        ConfigurationError: the value is in quotes, which would be part of the name.
    """
    model = environ.get(name, "").strip()
    if model[:1] in ("'", '"'):
        raise ConfigurationError(name, model, "leave the quotes out")
    return model or None


def _read_model_folder(path: Path) -> ModelFolder | None:
    try:
        return read_folder(path)
    except OSError as error:
        raise LookupError(f"{path} cannot be read: {error.strerror}.") from None


def _refuse_inner_model(folder: ModelFolder | None, name: str) -> None:
    """Raise :class:`LookupError` if the only model is in a subfolder."""
    inner = [*folder.inner_models()] if folder is not None else []
    if folder is not None and len(inner) == 1:
        raise LookupError(
            f"{folder.path} has no model at its top, but {inner[0]} has one: set "
            f"{name}={inner[0]} to serve it, or {name} to another model."
        )


def _describe(settings: Settings, folder: ModelFolder | None) -> str:
    path = settings.model_path
    if folder is None:
        return f"{path} is not a folder" if path.exists() else f"{path} does not exist"
    if folder.is_adapter:
        return f"{path} has an adapter, but no model"
    return f"{path} {folder.describe()}"


def _explain(settings: Settings, folder: ModelFolder | None, name: str) -> str:
    reason = f"No model was found: {_describe(settings, folder)}."
    if folder is not None and folder.is_adapter:
        base = folder.base_model()
        example = f", such as {_HUB}={base}" if base else ""
        return (
            f"{reason} Set {name} or {_HUB} to the adapter's base model{example}, and "
            f"move the adapter to a subfolder of {folder.path}/adapters."
        )
    return f"{reason} Put one into {settings.model_path}, or set {name} or {_HUB}."
