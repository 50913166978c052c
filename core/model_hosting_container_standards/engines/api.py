"""The seam between the standards and an inference engine.

An engine is one object, published under the entry-point group
``model_hosting_container_standards.engines``. Everything this package needs to know of
it comes through that object; nothing in the core imports an engine.

It has three parts: a description, which is data; the activation, which is the methods
of :class:`Engine`; and a runtime, which is made when an app of the engine has started.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, ClassVar

from .runtime import EngineRuntime

if TYPE_CHECKING:  # Engines are patched in processes that serve nothing.
    from fastapi import FastAPI

    from ..customer_code.moved_names import MovedNames
    from .command import EngineCommand
    from .description import EngineDescription


class Engine:
    """Gives an engine's apps the standards. An engine overrides what it needs.

    Importing it imports neither the engine nor FastAPI.
    """

    description: ClassVar[EngineDescription]

    @property
    def name(self) -> str:
        """The name operators use, such as ``"vllm"``; also the package it is in."""
        return self.description.name

    def patch(self) -> None:
        """Register import hooks that have the engine's apps bootstrapped.

        The engine itself must not be imported here. One that calls ``bootstrap(app)``
        by itself needs none.
        """

    def problems(self) -> Iterable[str]:
        """Say what in the environment keeps the engine from being patched, if any."""
        return ()

    def owns(self, app: FastAPI) -> bool:
        """Whether the engine built this app; all else is asked for such apps alone."""
        del app
        return False

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        """Return the app's routes a client may choose by the ``route`` attribute.

        The adapter header counts on them, whichever way a request comes there. Asked
        before the app starts: its routes are there.
        """
        del app
        return ()

    def api_keys(self, app: FastAPI) -> Collection[str]:
        """Return the keys that the engine's own routes ask clients for.

        Asked before the app starts, so that a server without its key does not start.
        """
        del app
        return ()

    def start(self, app: FastAPI) -> EngineRuntime:
        """Return what the engine can do, once for an app that has started."""
        return EngineRuntime(app)

    @property
    def command(self) -> EngineCommand | None:
        """The command that serves by the engine; None: ``mhcs serve`` has none."""
        return None

    @property
    def moved_names(self) -> MovedNames:
        """What the engine's modules have lost in the release that is installed."""
        return {}
