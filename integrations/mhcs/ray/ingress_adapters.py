"""Adapters of an application, as its ingress sees them."""

from __future__ import annotations

from collections.abc import Collection

from model_hosting_container_standards.engines import (
    Adapter,
    AdapterBackend,
    RegisteredAdapters,
)

from .models import IngressModels


class IngressAdapters(AdapterBackend):
    """The ``AdapterBackend`` of an ingress. The coordinator loads adapters."""

    def __init__(self, models: IngressModels) -> None:
        self._models = models

    @property
    def server_name(self) -> str:
        return f"ray-{self._models.application}"

    def attach(self, adapters: RegisteredAdapters) -> None:
        self._models.adapters = adapters

    def own_models(self) -> Collection[str]:
        return [*self._models.handles]

    def default_model(self) -> str:
        """Return the only model; the ingress chooses one of several itself."""
        names = self.own_models()
        return "" if len(names) > 1 else next(iter(names), "")

    def adapter_of(self, model: str) -> str | None:
        """Return the adapter of ``NAME``, or of ``MODEL:NAME`` as Ray writes it."""
        if model in self._models.handles:
            return None
        base, colon, name = model.partition(":")
        if not colon or base not in self._models.handles:
            return model
        if self._models.lora_paths.get(base):
            return None  # Ray loads its own adapters from there.
        adapter = self._models.find_adapter(name)
        is_of_other = adapter is not None and adapter.engine_id not in (None, base)
        return model if is_of_other else name

    async def load(self, adapter: Adapter) -> None:
        raise NotImplementedError("The coordinator loads adapters.")

    async def unload(self, adapter: Adapter) -> None:
        """Do nothing: the coordinator unloads adapters."""
