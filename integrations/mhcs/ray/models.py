"""The models behind an ingress."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from model_hosting_container_standards.engines import Adapter, RegisteredAdapters

#: The attribute of an ingress app's state.
_STATE: Final = "mhcs_ray_models"


@dataclass
class IngressModels:
    """The models behind an ingress.

    Args:
        application: the name of the application in Ray Serve.
        handles: those of the models, by the names of the models.
        lora_paths: the folders of Ray's own adapters, by the names of their models.
    """

    application: str
    handles: Mapping[str, DeploymentHandle]
    lora_paths: Mapping[str, Any]
    #: None before the app has started.
    adapters: RegisteredAdapters | None = None

    def registered(self) -> Collection[Adapter]:
        """Return the registered adapters that answer."""
        view = {} if self.adapters is None else self.adapters.view()
        return [adapter for adapter in view.values() if adapter.answers]

    def find_adapter(self, name: str) -> Adapter | None:
        """Return the registered adapter of this name, if it answers."""
        view = {} if self.adapters is None else self.adapters.view()
        adapter = view.get(name)
        return adapter if adapter is not None and adapter.answers else None

    def selected_adapter(self) -> Adapter | None:
        """Return the adapter that the current request names, leased and loaded."""
        return None if self.adapters is None else self.adapters.selected()


def set_models(app: FastAPI, models: IngressModels) -> None:
    """Set the models of an ingress app, before it is bootstrapped."""
    setattr(app.state, _STATE, models)


def models_of(app: FastAPI) -> IngressModels | None:
    """Return the models of an ingress app; None: it is not in a replica of ours."""
    return getattr(app.state, _STATE, None)
