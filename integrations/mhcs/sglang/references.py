"""What one tokenizer worker knows of the adapters in the engine."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from model_hosting_container_standards.engines import Adapter


class References:
    """SGLang's references to adapters, in the tokenizer manager of this process.

    A reference has an adapter's name and the id that the scheduler knows it by. SGLang
    adds one to the process that loads an adapter; here the others get it too.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._registry = manager.lora_registry
        # Replaced later by a method that lists what clients see.
        self._list = manager.lora_registry.get_all_adapters
        #: Names that this package has added, and how many requests use each.
        self._added: set[str] = set()
        self._in_use: Counter[str] = Counter()
        self._unfiltered = 0

    def all(self) -> Mapping[str, Any]:
        """Return the references by name."""
        references: Mapping[str, Any] = self._list()
        return references

    def own(self) -> Mapping[str, Any]:
        """Return the references to SGLang's own adapters, evicted ones too."""
        known = {**self._manager.lora_ref_cache, **self.all()}
        return {name: known[name] for name in known if name not in self._added}

    def is_evicted(self, name: str) -> bool:
        """Whether SGLang has unloaded an adapter, to load it again when it is used."""
        return name in self._manager.lora_ref_cache and name not in self.all()

    def is_added(self, name: str) -> bool:
        """Whether this package has added the reference of this name."""
        return name in self._added

    def mark_added(self, name: str) -> None:
        """Mark an adapter as one of this package: SGLang is about to load it."""
        self._added.add(name)

    async def add(self, adapter: Adapter) -> None:
        """Add a reference to a loaded adapter, unless it is here or evicted."""
        name = adapter.engine_name
        if not adapter.loaded or adapter.engine_id is None:
            return
        if name in self.all() or self.is_evicted(name):
            return
        self._added.add(name)
        with contextlib.suppress(ValueError):  # Another request has just added it.
            await self._registry.register(
                make_reference(adapter, name, adapter.engine_id)
            )

    async def remove(self, name: str) -> None:
        """Remove the reference to an adapter that is not in the engine any more."""
        # SGLang would load it again by this entry.
        self._manager.lora_ref_cache.pop(name, None)
        with contextlib.suppress(ValueError):  # SGLang has removed it.
            await self._registry.unregister(name)
        self._added.discard(name)

    async def remove_all_except(self, names: Collection[str]) -> None:
        """Remove the references to adapters that another process has unloaded."""
        for name in self._added.difference(names):
            if name not in self._in_use:  # Checked late: each removal waits.
                await self.remove(name)

    def counts_requests(self, lora_id: str) -> bool:
        """Whether SGLang still counts the requests of an adapter by its id."""
        return lora_id in getattr(self._registry, "_counters", ())

    @property
    def is_unfiltered(self) -> bool:
        """Whether SGLang is to see its own list of adapters, not that for clients."""
        return self._unfiltered > 0

    @contextlib.contextmanager
    def unfiltered(self) -> Iterator[None]:
        """Let SGLang see its own list within the block: it is loading an adapter."""
        self._unfiltered += 1
        try:
            yield
        finally:
            self._unfiltered -= 1

    @contextlib.contextmanager
    def used(self, name: str) -> Iterator[None]:
        """Keep a reference within the block."""
        self._in_use[name] += 1
        try:
            yield
        finally:
            self._in_use[name] -= 1
            if not self._in_use[name]:
                del self._in_use[name]


def make_reference(adapter: Adapter, name: str, engine_id: str) -> Any:
    """Return SGLang's reference to an adapter by a name."""
    from sglang.srt.lora.lora_registry import LoRARef

    return LoRARef(
        lora_id=engine_id,
        lora_name=name,
        lora_path=adapter.path,
        pinned=adapter.pin,
    )
